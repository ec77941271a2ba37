"""tf_laq: layer-wise adversarial-aware quantization for Keras models.

    import tf_laq as laq
    plan = laq.search(model)
    quantized = laq.apply(model, plan)

What is heavy (TensorFlow Model Optimization, CleverHans, plotting, data sets) is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.api import apply, measure, search, strip, uniform
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry, QuantizationPlan
from tf_laq.policies import Thresholds, UnsatisfiedWarning
from tf_laq.saving import load_model, save_model
from tf_laq.version import __version__

if TYPE_CHECKING:
    from tf_laq import attacks, datasets, evaluation, models, policies, quantizers, report, tflite, training
    from tf_laq.tflite import export_tflite

_SUBMODULES = (
    "attacks", "datasets", "evaluation", "models", "policies", "quantizers", "report", "tflite", "training",
)  # fmt: skip

__all__ = [
    "InputError",
    "PlanEntry",
    "QuantizationPlan",
    "Thresholds",
    "UnsatisfiedWarning",
    "__version__",
    "apply",
    "attacks",
    "datasets",
    "evaluation",
    "export_tflite",
    "load_model",
    "measure",
    "models",
    "policies",
    "quantizers",
    "report",
    "save_model",
    "search",
    "strip",
    "tflite",
    "training",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"tf_laq.{name}")
    if name == "export_tflite":
        from tf_laq.tflite import export_tflite

        return export_tflite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
