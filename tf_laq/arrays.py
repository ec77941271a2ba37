"""The few array operations that quantizers are written in, for NumPy and for TensorFlow.

A quantizer states its rule once, in terms of `ArrayOperations`; both libraries then give the same float32 bits.
What could make them differ is avoided here: sums run in float64, there is no division by a constant (TensorFlow's
graph optimiser would turn it into a product), and magnitudes are compared as integers (TensorFlow flushes subnormal
floats to zero, NumPy does not).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Protocol

import numpy as np

Array = Any
"""A float32 or int32 array of whichever library the operations belong to."""


class ArrayOperations(Protocol):
    """Elementwise and reducing operations on float32 and int32 arrays."""

    def constant(self, values: Any) -> Array:
        """Return float32 `values` as an array."""

    def times(self, value: Array, factor: float) -> Array:
        """Return the float32 scalar `value` times `factor`, the product taken in float64 and rounded once."""

    def mean_magnitude(self, w: Array) -> Array:
        """Return mean |w| as a float32 scalar, summed in float64."""

    def max_magnitude(self, w: Array) -> Array:
        """Return max |w| as a float32 scalar."""

    def magnitude_bits(self, w: Array) -> Array:
        """Return the IEEE 754 bits of |w| as int32: they grow with |w|."""

    def from_bits(self, bits: Array) -> Array:
        """Return the float32 whose IEEE 754 bits are the int32 `bits`."""

    def shift_left(self, bits: Array, by: int) -> Array:
        """Return `bits << by`."""

    def shift_right(self, bits: Array, by: int) -> Array:
        """Return `bits >> by`."""

    def round(self, w: Array) -> Array:
        """Round to the nearest integer, halves to even."""

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        """Choose elementwise; the branches may be scalars."""

    def maximum(self, a: Array, b: Any) -> Array:
        """Return the larger of two int32 values, elementwise."""

    def minimum(self, a: Array, b: Any) -> Array:
        """Return the smaller of two int32 values, elementwise."""

    def max(self, a: Array) -> Array:
        """Return the largest element of an int32 array."""

    def nearest(self, levels: Array, w: Array) -> Array:
        """Return the level nearest to each element; `levels` (L,) ascend, a tie goes to the lower level."""


class NumpyOperations:
    """`ArrayOperations` on NumPy arrays."""

    def constant(self, values: Any) -> Array:
        return np.asarray(values, np.float32)

    def times(self, value: Array, factor: float) -> Array:
        return np.float32(np.float64(value) * factor)

    def mean_magnitude(self, w: Array) -> Array:
        return np.float32(np.sum(np.abs(w), dtype=np.float64) * (1.0 / w.size))

    def max_magnitude(self, w: Array) -> Array:
        return np.max(np.abs(w))

    def magnitude_bits(self, w: Array) -> Array:
        return np.abs(w).view(np.int32)

    def from_bits(self, bits: Array) -> Array:
        return np.asarray(bits, np.int32).view(np.float32)

    def shift_left(self, bits: Array, by: int) -> Array:
        return np.left_shift(bits, np.int32(by))

    def shift_right(self, bits: Array, by: int) -> Array:
        return np.right_shift(bits, np.int32(by))

    def round(self, w: Array) -> Array:
        return np.rint(w)

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        return np.where(condition, yes, no)

    def maximum(self, a: Array, b: Any) -> Array:
        return np.maximum(a, np.int32(b))

    def minimum(self, a: Array, b: Any) -> Array:
        return np.minimum(a, np.int32(b))

    def max(self, a: Array) -> Array:
        return np.max(a)

    def nearest(self, levels: Array, w: Array) -> Array:
        midpoints = (levels[1:] + levels[:-1]) * np.float32(0.5)
        return levels[np.searchsorted(midpoints, w, side="left")]


NUMPY = NumpyOperations()


@cache
def tensorflow_operations() -> ArrayOperations:
    """Return `ArrayOperations` on TensorFlow tensors; TensorFlow is imported here and not before."""
    import tensorflow as tf

    class TensorFlowOperations:
        def constant(self, values: Any) -> Array:
            return tf.convert_to_tensor(values, tf.float32)

        def times(self, value: Array, factor: float) -> Array:
            return tf.cast(tf.cast(value, tf.float64) * factor, tf.float32)

        def mean_magnitude(self, w: Array) -> Array:
            total = tf.reduce_sum(tf.cast(tf.abs(w), tf.float64))
            return tf.cast(total * (1.0 / math.prod(w.shape)), tf.float32)

        def max_magnitude(self, w: Array) -> Array:
            return tf.reduce_max(tf.abs(w))

        def magnitude_bits(self, w: Array) -> Array:
            return tf.bitcast(tf.abs(w), tf.int32)

        def from_bits(self, bits: Array) -> Array:
            return tf.bitcast(bits, tf.float32)

        def shift_left(self, bits: Array, by: int) -> Array:
            return tf.bitwise.left_shift(bits, tf.fill(tf.shape(bits), by))

        def shift_right(self, bits: Array, by: int) -> Array:
            return tf.bitwise.right_shift(bits, tf.fill(tf.shape(bits), by))

        def round(self, w: Array) -> Array:
            return tf.round(w)

        def where(self, condition: Array, yes: Array, no: Array) -> Array:
            return tf.where(condition, yes, no)

        def maximum(self, a: Array, b: Any) -> Array:
            return tf.maximum(a, b)

        def minimum(self, a: Array, b: Any) -> Array:
            return tf.minimum(a, b)

        def max(self, a: Array) -> Array:
            return tf.reduce_max(a)

        def nearest(self, levels: Array, w: Array) -> Array:
            midpoints = (levels[1:] + levels[:-1]) * 0.5
            index = tf.searchsorted(midpoints, tf.reshape(w, [-1]), side="left")
            return tf.reshape(tf.gather(levels, index), tf.shape(w))

    return TensorFlowOperations()
