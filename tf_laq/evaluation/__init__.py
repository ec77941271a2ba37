"""Robust accuracy: run a battery of attacks on models, and read the report.

The names are imported on first use, since running attacks needs TensorFlow and CleverHans.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "AccuracyCurve": "curves",
    "AdversarialExamples": "adversarial",
    "Check": "checks",
    "MinimalPerturbations": "curves",
    "Outcome": "report",
    "RobustnessReport": "report",
    "Share": "statistics",
    "accuracy_curve": "curves",
    "evaluate": "runner",
    "load_examples": "adversarial",
    "mcnemar": "statistics",
    "minimal_perturbations": "curves",
    "wilson_interval": "statistics",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"tf_laq.evaluation.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
