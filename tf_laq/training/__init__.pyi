from .adversarial import AdversarialModel as AdversarialModel
from .corrections import (
    correct_biases as correct_biases,
    match_statistics as match_statistics,
    recalibrate_batch_norm as recalibrate_batch_norm,
)
from .finetuning import fine_tune as fine_tune
from .fitting import train as train
from .lipschitz_penalty import add_lipschitz_penalty as add_lipschitz_penalty
from .overfitting import CatastrophicOverfittingWarning as CatastrophicOverfittingWarning
from .recipes import Recipe as Recipe, recipe as recipe
from .requirements import RunningStatisticsWarning as RunningStatisticsWarning
from .reusing import TrainingRecord as TrainingRecord, trained_model as trained_model
from .textures import textures as textures
