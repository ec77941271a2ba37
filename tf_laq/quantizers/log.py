"""The log quantizer: powers of two, and zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tf_laq.quantizers.arithmetic import EXPONENT_MASK, OCTAVE, SMALLEST_NORMAL_BITS, mean_magnitude, signed
from tf_laq.quantizers.arrays import NUMPY, Array, ArrayOperations, blocks
from tf_laq.quantizers.base import Quantizer
from tf_laq.quantizers.registry import register

# Added to a float's bits, it carries into the exponent exactly where the mantissa reaches sqrt(2).
_CARRY_FROM_SQRT_2 = 0x4AFB0C


@register
class Log(Quantizer):
    """Power-of-two quantizer of one tensor with a zero code, 1 to 8 bits (Miyashita et al. 2016).

    For b >= 2 bits: e = round(log2 max|W|), the levels are 0 and +-2**(e-k), k = 0 ... 2**(b-1) - 2, and w becomes
    sign(w) * 2**round(log2|w|), or 0 below the lowest level. For 1 bit: +-2**round(log2 mean|W|), with + for w >= 0.
    The rounded logarithm is read off the float32 bits: its threshold is sqrt(2), exactly.

    Example:
        >>> Log(bits=3).quantize([-4.4, 0.2, 0.8, 1.5])
        array([-4.,  0.,  1.,  2.], dtype=float32)
        >>> Log(bits=1).quantize([-0.3, 0.2])
        array([-0.25,  0.25], dtype=float32)
    """

    name = "log"

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the highest level 2**e; for 1 bit 2**round(log2 mean|W|)."""
        one_bit = self.bits == 1
        magnitude = mean_magnitude(weights, operations) if one_bit else operations.max_magnitude(weights)
        return operations.from_bits(_power_of_two_bits(magnitude, operations))

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1, or fewer where 2**(e-k) leaves the float32 range."""
        if self.bits == 1:
            return operations.constant([-1.0, 1.0]) * scale
        n = self.positive_levels
        codes = np.arange(-n, n + 1, dtype=np.int32)
        bits = operations.maximum(operations.magnitude_bits(scale) - (n - np.abs(codes)) * OCTAVE, 0)
        return operations.constant(np.sign(codes)) * operations.from_bits(bits)

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return signed(weights, scale, operations)
        bits = _power_of_two_bits(weights, operations)
        lowest = operations.magnitude_bits(scale) - (self.positive_levels - 1) * OCTAVE
        # Twice the smallest normal float: what TensorFlow reads as 0 lies below every level.
        lowest = operations.maximum(lowest, 2 * SMALLEST_NORMAL_BITS)
        magnitude = operations.from_bits(operations.keep(bits >= lowest, bits))
        return operations.with_sign(magnitude, weights)

    @classmethod
    def saturation_bits(cls, weights: npt.NDArray[np.float32]) -> int:
        """Return the bit width whose levels reach down to the smallest weight."""
        every = (_power_of_two_bits(block, NUMPY) for block in blocks(weights))
        extremes = [(there.min(), there.max()) for bits in every if (there := bits[bits > SMALLEST_NORMAL_BITS]).size]
        octaves = int(np.ptp(extremes)) // OCTAVE + 1 if extremes else 1
        return min(cls.max_bits, octaves.bit_length() + 1)


def _power_of_two_bits(w: Array, operations: ArrayOperations) -> Array:
    """Return the float32 bits, as int32, of 2**round(log2|w|); below the normal range, of 0 or its lower end."""
    return operations.bits_and(operations.magnitude_bits(w) + _CARRY_FROM_SQRT_2, EXPONENT_MASK)
