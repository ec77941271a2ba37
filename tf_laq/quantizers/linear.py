"""The linear quantizer: even levels up to the largest weight."""

from __future__ import annotations

import numpy as np

from tf_laq.quantizers.arithmetic import mean_magnitude, signed
from tf_laq.quantizers.arrays import Array, ArrayOperations
from tf_laq.quantizers.base import Quantizer
from tf_laq.quantizers.registry import register


@register
class Linear(Quantizer):
    """Symmetric uniform quantizer of one tensor, 1 to 16 bits.

    For b >= 2 bits: n = 2**(b-1) - 1, D = max|W| / n, and w becomes D * round(w / D), halves to even: the levels
    are -nD, ..., -D, 0, D, ..., nD. For 1 bit: w becomes +mean|W| for w >= 0, and -mean|W| otherwise.

    Example:
        >>> Linear(bits=3).quantize([-3.0, 0.4, 0.6, 2.0])
        array([-3.,  0.,  1.,  2.], dtype=float32)
        >>> Linear(bits=1).quantize([-3.0, 1.0])
        array([-2.,  2.], dtype=float32)
    """

    name = "linear"
    max_bits = 16

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the step D; for 1 bit mean|W|."""
        if self.bits == 1:
            return mean_magnitude(weights, operations)
        step = operations.times(operations.max_magnitude(weights), 1.0 / self.positive_levels)
        # Twice the smallest normal float: a tensor of zeros has a step to divide by, and no subnormal weight, which
        # TensorFlow reads as 0, can round up to a step.
        return operations.at_least(step, 2.0**-125)

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1."""
        n = self.positive_levels
        multiples = [-1.0, 1.0] if self.bits == 1 else np.arange(-n, n + 1)
        return operations.constant(multiples) * scale

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return signed(weights, scale, operations)
        return operations.without_negative_zero(operations.round(weights / scale) * scale)
