"""Adversarial training of Keras models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.training.recipes import Recipe, recipe

if TYPE_CHECKING:
    from tf_laq.training.adversarial import AdversarialModel
    from tf_laq.training.fitting import train

__all__ = ["AdversarialModel", "Recipe", "recipe", "train"]

# These import TensorFlow and CleverHans, which takes seconds, so only when they are asked for.
_LAZY = {"AdversarialModel": "tf_laq.training.adversarial", "train": "tf_laq.training.fitting"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
