from .adversarial import AdversarialExamples as AdversarialExamples, load_examples as load_examples
from .classifier import Classifier as Classifier
from .curves import (
    AccuracyCurve as AccuracyCurve,
    MinimalPerturbations as MinimalPerturbations,
    accuracy_curve as accuracy_curve,
    minimal_perturbations as minimal_perturbations,
)
from .examples import Examples as Examples
from .models import FEW_ZEROS as FEW_ZEROS, zero_gradients as zero_gradients
from .outcomes import Correct as Correct, Outcome as Outcome
from .report import Check as Check, RobustnessReport as RobustnessReport
from .runner import evaluate as evaluate
from .statistics import (
    Difference as Difference,
    Share as Share,
    drop as drop,
    mcnemar as mcnemar,
    wilson_interval as wilson_interval,
)
