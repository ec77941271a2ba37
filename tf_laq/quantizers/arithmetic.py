"""Arithmetic that several quantizers share, in float32 bits where two array libraries could round differently."""

from __future__ import annotations

from tf_laq.quantizers.arrays import Array, ArrayOperations

EXPONENT_MASK = 0x7F800000
OCTAVE = 0x00800000
SMALLEST_NORMAL_BITS = 0x00800000


def whole_steps(weights: Array, largest: int, operations: ArrayOperations) -> tuple[Array, Array]:
    """Return int64 (2 * `largest` + 1,) counts of the weights in whole steps, and the step.

    The step is a power of two: its multiples are exact, and have the same multiples in their own histogram.
    """
    step = operations.times(operations.max_magnitude(weights), 1 / largest)
    bits = operations.bits_and(operations.magnitude_bits(step) + (OCTAVE - 1), EXPONENT_MASK)
    step = operations.at_least(operations.from_bits(bits), 2.0**-125)
    return operations.histogram(weights, step, largest), step


def mean_magnitude(w: Array, operations: ArrayOperations) -> Array:
    """Return mean |w|, with what lies below the normal float32 range as 0: TensorFlow's arithmetic flushes it."""

    def normal(values: Array) -> Array:
        bits = operations.magnitude_bits(values)
        return operations.from_bits(operations.keep(bits >= SMALLEST_NORMAL_BITS, bits))

    return normal(operations.mean(normal, w))


def signed(w: Array, magnitude: Array, operations: ArrayOperations) -> Array:
    """Return +magnitude where w >= 0 (-0.0 included), -magnitude elsewhere."""
    return operations.with_sign(magnitude, operations.without_negative_zero(w))
