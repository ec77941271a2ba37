"""The clipped quantizer: even levels that cut off the largest weights."""

from __future__ import annotations

import numpy as np

from tf_laq.quantizers.arithmetic import whole_steps
from tf_laq.quantizers.arrays import Array, ArrayOperations
from tf_laq.quantizers.linear import Linear
from tf_laq.quantizers.registry import register

# The range ends at max|W| times one of these, in units of 2**-16: eight an octave, four octaves down.
_RANGES = np.rint(2.0 ** (16 - np.arange(32) / 8)).astype(np.int64)
_STEPS = 2047


@register
class Clipped(Linear):
    """Symmetric uniform quantizer of one tensor that cuts off the largest weights, 2 to 6 bits.

    n = 2**(b-1) - 1, and w becomes D * clip(round(w / D), -n, n): the levels are as even as the linear quantizer's,
    but nD is max|W| * 2**(-i/8), i = 0 ... 31, with the least sum of |w - w_q|**3; D is rounded down to a multiple of
    the smallest power of two that reaches max|W| / 2047. So a few large weights do not decide how coarse the step is
    for all others, and the codes are still whole numbers times one scale.

    Cubes stand in for ||W - W_q||, which depends on more than single weights: on trained networks their step has at
    most 11 % more of it than the best one. Squares cut off too much, up to 41 % more: large weights carry the norm.

    Policies choose it by name only. Now and then it has a smaller ||W - W_q|| than k-means levels of the same width,
    and the network was less robust with it all the same.

    Example:
        >>> weights = np.append(np.linspace(-1.0, 1.0, 999), 4.0)
        >>> [float(quantizer(bits=3).quantize(weights).max()) for quantizer in (Linear, Clipped)]
        [4.0, 2.1796875]
    """

    name = "clipped"
    min_bits = 2
    max_bits = 6
    by_name_only = True

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the step D."""
        counts, unit = whole_steps(weights, _STEPS, operations)
        w = np.abs(np.arange(-_STEPS, _STEPS + 1))[:, None]
        largest = operations.max_magnitude(operations.where(counts > 0, w[:, 0], np.int64(0)))
        # Rounded down, so that the largest weight goes to the last level, and quantized weights find their own step.
        steps = operations.maximum(largest * _RANGES // (self.positive_levels << 16), 1)
        codes = (2 * w + steps) // (2 * steps)
        codes = operations.where(codes < self.positive_levels, codes, np.int64(self.positive_levels))
        cost = operations.column_sum(counts[:, None] * abs(w - codes * steps) ** 3)
        return operations.as_float(steps[operations.lowest_row(cost)]) * unit

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        return super().project(operations.clip(weights, scale * self.positive_levels), scale, operations)
