from .adversarial import AdversarialExamples as AdversarialExamples, load_examples as load_examples
from .checks import Check as Check, zero_gradients as zero_gradients
from .curves import (
    AccuracyCurve as AccuracyCurve,
    MinimalPerturbations as MinimalPerturbations,
    accuracy_curve as accuracy_curve,
    minimal_perturbations as minimal_perturbations,
)
from .examples import Examples as Examples
from .report import Correct as Correct, Outcome as Outcome, RobustnessReport as RobustnessReport
from .runner import evaluate as evaluate
from .statistics import Share as Share, mcnemar as mcnemar, wilson_interval as wilson_interval
