from . import (
    attacks as attacks,
    compression as compression,
    datasets as datasets,
    evaluation as evaluation,
    models as models,
    policies as policies,
    quantizers as quantizers,
    report as report,
    tflite as tflite,
    training as training,
)
from .adapters import plan_of as plan_of
from .api import apply as apply, bake as bake, measure as measure, search as search, strip as strip, uniform as uniform
from .compression import Candidate as Candidate, Compression as Compression, Rule as Rule, compress as compress
from .errors import InputError as InputError
from .evaluation import evaluate as evaluate
from .plan import PlanEntry as PlanEntry, QuantizationPlan as QuantizationPlan
from .saving import load_model as load_model, save_model as save_model
from .tflite import export_tflite as export_tflite
from .version import __version__ as __version__
