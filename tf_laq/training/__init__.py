"""Training of Keras models: against attacks, near their decision boundary, and under quantization."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.training.recipes import Recipe, recipe

if TYPE_CHECKING:
    from tf_laq.training.adversarial import AdversarialModel
    from tf_laq.training.bias_correction import correct_biases
    from tf_laq.training.calibration import recalibrate_batch_norm
    from tf_laq.training.feedback import FeedbackSettings, feedback_learning
    from tf_laq.training.finetuning import fine_tune
    from tf_laq.training.fitting import train
    from tf_laq.training.lipschitz_penalty import add_lipschitz_penalty

__all__ = [
    "AdversarialModel",
    "FeedbackSettings",
    "Recipe",
    "add_lipschitz_penalty",
    "correct_biases",
    "feedback_learning",
    "fine_tune",
    "recalibrate_batch_norm",
    "recipe",
    "train",
]

# These import TensorFlow and CleverHans, which takes seconds, so only when they are asked for.
_LAZY = {
    "AdversarialModel": "tf_laq.training.adversarial",
    "FeedbackSettings": "tf_laq.training.feedback",
    "add_lipschitz_penalty": "tf_laq.training.lipschitz_penalty",
    "feedback_learning": "tf_laq.training.feedback",
    "fine_tune": "tf_laq.training.finetuning",
    "correct_biases": "tf_laq.training.bias_correction",
    "recalibrate_batch_norm": "tf_laq.training.calibration",
    "train": "tf_laq.training.fitting",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
