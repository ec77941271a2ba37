"""Weight quantizers: the one definition of their levels, one quantizer a module.

The search, the simulated model, the gradient of fine-tuning and the exported file all call what stands here. A
quantizer is a class with a name, a range of bits, a scale and the levels that follow from it; `register` makes it
known everywhere:

    @quantizers.register
    class Ternary(quantizers.Quantizer):
        name, min_bits, max_bits = "ternary", 2, 2

        def scale(self, weights, operations):
            return operations.mean_magnitude(weights)

        def levels(self, scale, operations):
            return operations.constant([-1.0, 0.0, 1.0]) * scale
"""

from __future__ import annotations

from tf_laq.quantizers.arrays import ArrayOperations
from tf_laq.quantizers.base import Encoding, Quantizer
from tf_laq.quantizers.registry import candidates, get, names, parse, quantizer_class, register, unregister

# Importing a quantizer registers it, in this order: equal errors go to the later one.
from tf_laq.quantizers.linear import Linear  # isort: skip
from tf_laq.quantizers.log import Log  # isort: skip
from tf_laq.quantizers.kmeans import KMeans  # isort: skip
from tf_laq.quantizers.apot import APoT  # isort: skip
from tf_laq.quantizers.clipped import Clipped  # isort: skip

__all__ = [
    "APoT",
    "ArrayOperations",
    "Clipped",
    "Encoding",
    "KMeans",
    "Linear",
    "Log",
    "Quantizer",
    "candidates",
    "get",
    "names",
    "parse",
    "quantizer_class",
    "register",
    "unregister",
]
