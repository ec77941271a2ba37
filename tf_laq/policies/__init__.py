"""Policies: from the measurements of the weight tensors to a quantizer and a bit width for each; one a module.

| policy | chooses | needs |
| --- | --- | --- |
| `Guarded` | the fewest bits within relative limits; the default | nothing |
| `Algorithm1` | as the paper does | nothing |
| `Budget` | the least predicted loss within a size | a limit |
| `Uniform` | the same for every tensor | a setting |
| `RandomBits` | at random within a size | a limit |
| `hawq(...)` | as `Budget`, the loss predicted from the error and the curvature of the loss | a limit, a batch |
| `ans(...)` | bits by the sensitivity of a layer's output to adversarial noise | a batch |
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.policies.algorithm1 import PAPER_METHODS, Algorithm1, Thresholds
from tf_laq.policies.base import Policy, TensorPolicy, UnsatisfiedWarning, make_plan, measured_entry
from tf_laq.policies.budget import COSTS, Budget, Cost, Limit
from tf_laq.policies.guarded import Guarded
from tf_laq.policies.named import DEFAULT, NAMES, named
from tf_laq.policies.random_bits import RandomBits
from tf_laq.policies.uniform import Uniform

if TYPE_CHECKING:
    from tf_laq.policies.curvature import hawq
    from tf_laq.policies.noise_sensitivity import NoiseSensitivity, ans

# These need TensorFlow.
_LAZY = {"NoiseSensitivity": "noise_sensitivity", "ans": "noise_sensitivity", "hawq": "curvature"}

__all__ = [
    "COSTS",
    "DEFAULT",
    "NAMES",
    "PAPER_METHODS",
    "Algorithm1",
    "Budget",
    "Cost",
    "Guarded",
    "Limit",
    "NoiseSensitivity",
    "Policy",
    "RandomBits",
    "TensorPolicy",
    "Thresholds",
    "Uniform",
    "UnsatisfiedWarning",
    "ans",
    "hawq",
    "make_plan",
    "measured_entry",
    "named",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"tf_laq.policies.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
