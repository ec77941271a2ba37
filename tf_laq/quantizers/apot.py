"""Additive powers of two."""

from __future__ import annotations

from tf_laq.quantizers.arrays import Array, ArrayOperations
from tf_laq.quantizers.base import Quantizer
from tf_laq.quantizers.registry import register

# Mantissas are cut to so many bits where a small whole multiple has to be exact.
_SIXTEEN_SIGNIFICANT_BITS = 0x7FFFFF00

# The terms, in units of the smallest sum, by bits: as in the authors' code.
_TERMS = {3: ((0, 4, 2, 1), (0,)), 4: ((0, 8, 4, 1), (0, 2)), 5: ((0, 32, 8, 2), (0, 16, 4, 1))}


@register
class APoT(Quantizer):
    """Additive powers of two of one tensor, 3 to 5 bits.

    Li, Dong and Wang 2020, "Additive Powers-of-Two Quantization", section 2.2, with terms of two bits. A level is
    D times a sum of at most two powers of two, or minus that, and w becomes the nearest one:

        3 bits: {0, 4, 2, 1};   4 bits: {0, 8, 4, 1} + {0, 2};   5 bits: {0, 32, 8, 2} + {0, 16, 4, 1}

    D = max|W| / the largest sum, cut to 16 significant bits, so that the levels are exact and their own levels are
    themselves. The paper learns the clipping threshold in training; here it is max|W|.

    Example:
        >>> APoT(bits=3).quantize([-4.0, 0.4, 0.6, 3.5])
        array([-4.,  0.,  1.,  4.], dtype=float32)
    """

    name = "apot"
    min_bits = 3
    max_bits = 5

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return D."""
        step = operations.times(operations.max_magnitude(weights), 1.0 / self._sums()[-1])
        step = operations.from_bits(operations.bits_and(operations.magnitude_bits(step), _SIXTEEN_SIGNIFICANT_BITS))
        return operations.at_least(step, 2.0**-125)

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the 2**bits - 1 levels."""
        sums = self._sums()
        return operations.constant([*(-each for each in reversed(sums[1:])), *sums]) * scale

    def _sums(self) -> list[float]:
        terms = _TERMS[self.bits]
        return sorted(float(first + second) for first in terms[0] for second in terms[1])
