"""What predicts the loss of robustness from quantizing a layer: every layer by itself, under attack, beside predictors.

    from research.layer_study import study
    study(model, "mnist", name="mnist_adv", out="docs/results", cache="runs")

One kernel at a time is quantized, all others stay float32, and the images that the float network withstands are
attacked again. The losses are then ranked against what policies go by: norms of the error, noise sensitivity,
gradients, curvature, and the change of the outputs on a few images.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {"LayerStudy": "studying", "Settings": "settings", "study": "results"}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"research.layer_study.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
