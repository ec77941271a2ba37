"""The few array operations that quantizers are written in, for NumPy and for TensorFlow.

A quantizer states its rule once, in terms of `ArrayOperations`; both libraries then give the same float32 bits.
What could make them differ is avoided here: sums run in float64, there is no division by a constant (TensorFlow's
graph optimiser would turn it into a product), and magnitudes are compared as integers (TensorFlow flushes subnormal
floats to zero, NumPy does not).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

BLOCK = 1 << 15
"""Weights are quantized so many at a time: blocks that stay in the cache."""

_FEW = 128

Array = Any
"""A float32 or int32 array of whichever library the operations belong to."""

Counted = Callable[[Array, int, "ArrayOperations"], Array]
"""A function of int64 counts (n,), a number and the operations of the library of the counts."""


def blocks(w: Array) -> Iterator[Array]:
    """Give an array of NumPy, flat, in blocks."""
    flat = w.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        yield flat[start : start + BLOCK]


def places_in(ascending: Array, w: Array) -> Array:
    """Return `np.searchsorted(ascending, w)` of NumPy arrays, several times as fast where there are few to search."""
    if len(ascending) > _FEW:
        return np.searchsorted(ascending, w)
    places = np.zeros(w.shape, np.uint8)
    for value in ascending:
        places += w > value
    return places


class ArrayOperations:
    """Elementwise and reducing operations on float32 and int32 arrays: here on those of NumPy."""

    def constant(self, values: Any) -> Array:
        """Return float32 `values` as an array."""
        return np.asarray(values, np.float32)

    def times(self, value: Array, factor: float) -> Array:
        """Return the float32 scalar `value` times `factor`, the product taken in float64 and rounded once."""
        return np.float32(np.float64(value) * factor)

    def at_least(self, value: Array, smallest: float) -> Array:
        """Return the float32 scalar `value`, or `smallest` where that is larger."""
        return np.maximum(value, np.float32(smallest))

    def mean_magnitude(self, w: Array) -> Array:
        """Return mean |w| as a float32 scalar, summed in float64."""
        return self.mean(abs, w)

    def mean(self, of: Callable[[Array], Array], w: Array) -> Array:
        """Return the mean of `of(w)`, which is elementwise, as a float32 scalar, summed in float64."""
        total = sum(np.sum(of(block), dtype=np.float64) for block in blocks(w))
        return np.float32(total * (1.0 / w.size))

    def max_magnitude(self, w: Array) -> Array:
        """Return max |w| as a scalar."""
        return np.maximum(np.max(w), -np.min(w))

    def clip(self, w: Array, limit: Array) -> Array:
        """Return w, or the nearer of -`limit` and `limit` where |w| is larger."""
        return np.clip(w, -limit, limit)

    def magnitude_bits(self, w: Array) -> Array:
        """Return the IEEE 754 bits of |w| as int32: they grow with |w|."""
        return np.abs(w).view(np.int32)

    def from_bits(self, bits: Array) -> Array:
        """Return the float32 whose IEEE 754 bits are the int32 `bits`."""
        return np.asarray(bits, np.int32).view(np.float32)

    def bits_and(self, bits: Array, mask: int) -> Array:
        """Return the int32 `bits & mask`."""
        return np.bitwise_and(bits, np.int32(mask))

    def round(self, w: Array) -> Array:
        """Round to the nearest integer, halves to even."""
        return np.rint(w)

    # np.where is ten times slower than arithmetic on a condition that changes from element to element.
    def keep(self, condition: Array, values: Array) -> Array:
        """Return the int32 `values` where the condition holds, 0 elsewhere."""
        return np.multiply(values, condition, dtype=np.int32)

    def with_sign(self, magnitude: Array, w: Array) -> Array:
        """Return `magnitude` (>= 0) with the sign of w: + where w is 0.0, and never -0.0."""
        # Five times faster than np.copysign.
        sign = np.bitwise_and(w.view(np.int32), np.int32(-(2**31)))
        return np.bitwise_or(magnitude.view(np.int32), sign).view(np.float32) + np.float32(0.0)

    def without_negative_zero(self, w: Array) -> Array:
        """Return w with -0.0 replaced by 0.0, so that equal values have equal bits."""
        return w + np.float32(0.0)

    def maximum(self, a: Array, b: Any) -> Array:
        """Return the larger of two int32 or int64 values, elementwise."""
        return np.maximum(a, a.dtype.type(b))

    def nearest(self, levels: Array, w: Array) -> Array:
        """Return the level nearest to each element; `levels` (L,) ascend, a tie goes to the lower level."""
        midpoints = (levels[1:] + levels[:-1]) * np.float32(0.5)
        return levels[places_in(midpoints, w)]

    def ceil(self, w: Array) -> Array:
        """Return the smallest whole numbers that are not below w."""
        return np.ceil(w)

    def look_up(self, table: Array, places: Array) -> Array:
        """Return the entries of `table` (2n + 1,) at the whole floats `places` from -n to n."""
        return table[places.astype(np.int32) + len(table) // 2]

    def histogram(self, w: Array, step: Array, largest: int) -> Array:
        """Return int64 (2 * `largest` + 1,): how many of w / `step` round to each of -`largest` ... `largest`."""
        counts = np.zeros(2 * largest + 1, np.int64)
        for block in blocks(w):
            places = np.rint(block / step).astype(np.int64)
            places += largest
            counts += np.bincount(places, minlength=counts.size)
        return counts

    def running_sum(self, values: Array) -> Array:
        """Return int64 (n + 1,): the sums of the first 0 ... n of the int64 values (n,)."""
        return np.append(np.int64(0), np.cumsum(values))

    def at(self, values: Array, place: Any) -> Array:
        """Return the entry, or row, of `values` at a place."""
        return values[place]

    def where(self, condition: Any, values: Any, others: Any) -> Array:
        """Return the int64 `values` where the condition holds, `others` elsewhere; all three are broadcast."""
        return np.where(condition, values, others)

    def lowest_row(self, values: Array) -> Array:
        """Return the first row that holds the minimum of each column of int64 values (rows, columns)."""
        return np.argmin(values, axis=0)

    def row_minimum(self, values: Array) -> Array:
        """Return the minimum of each row of int64 values (rows, columns)."""
        return np.min(values, axis=1)

    def column_sum(self, values: Array) -> Array:
        """Return the sum of each column of int64 values (rows, columns)."""
        return np.sum(values, axis=0)

    def stack(self, values: list[Array]) -> Array:
        """Return int64 scalars as one array."""
        return np.stack(values)

    def as_float(self, values: Array) -> Array:
        """Return int64 values as float32."""
        return values.astype(np.float32)

    def traced_once(self, function: Counted, counts: Array, number: int) -> Array:
        """Return `function(counts, number, operations)`; TensorFlow makes one graph of it for all int64 counts (n,)."""
        return function(counts, number, self)

    def before(self, value: Array, values: Array) -> Array:
        """Return a float32 scalar and float32 values (n,) as one array (n + 1,)."""
        return np.append(value, values)


NUMPY = ArrayOperations()


@cache
def tensorflow_operations() -> ArrayOperations:
    """Return `ArrayOperations` on TensorFlow tensors; TensorFlow is imported here and not before."""
    import tensorflow as tf

    class TensorFlowOperations(ArrayOperations):
        def constant(self, values: Any) -> Array:
            return tf.convert_to_tensor(values, tf.float32)

        def times(self, value: Array, factor: float) -> Array:
            return tf.cast(tf.cast(value, tf.float64) * factor, tf.float32)

        def at_least(self, value: Array, smallest: float) -> Array:
            return tf.maximum(value, smallest)

        def mean(self, of: Callable[[Array], Array], w: Array) -> Array:
            total = tf.reduce_sum(tf.cast(of(w), tf.float64))
            return tf.cast(total * (1.0 / math.prod(w.shape)), tf.float32)

        def max_magnitude(self, w: Array) -> Array:
            return tf.reduce_max(tf.abs(w))

        def clip(self, w: Array, limit: Array) -> Array:
            return tf.clip_by_value(w, -limit, limit)

        def magnitude_bits(self, w: Array) -> Array:
            return tf.bitcast(tf.abs(w), tf.int32)

        def from_bits(self, bits: Array) -> Array:
            return tf.bitcast(bits, tf.float32)

        def bits_and(self, bits: Array, mask: int) -> Array:
            return tf.bitwise.bitwise_and(bits, tf.constant(mask, tf.int32))

        def round(self, w: Array) -> Array:
            return tf.round(w)

        def keep(self, condition: Array, values: Array) -> Array:
            return values * tf.cast(condition, tf.int32)

        def with_sign(self, magnitude: Array, w: Array) -> Array:
            # Not `w < 0`, which holds for no subnormal w.
            return tf.where((tf.bitcast(w, tf.int32) < 0) & (magnitude > 0), -magnitude, magnitude)

        def without_negative_zero(self, w: Array) -> Array:
            return tf.where(tf.bitcast(w, tf.int32) == tf.int32.min, tf.zeros([], tf.float32), w)

        def maximum(self, a: Array, b: Any) -> Array:
            return tf.maximum(a, b)

        def nearest(self, levels: Array, w: Array) -> Array:
            midpoints = (levels[1:] + levels[:-1]) * 0.5
            index = tf.searchsorted(midpoints, tf.reshape(w, [-1]), side="left")
            return tf.reshape(tf.gather(levels, index), tf.shape(w))

        def ceil(self, w: Array) -> Array:
            return tf.math.ceil(w)

        def look_up(self, table: Array, places: Array) -> Array:
            return tf.gather(table, tf.cast(places, tf.int32) + table.shape[0] // 2)

        def histogram(self, w: Array, step: Array, largest: int) -> Array:
            size, places = 2 * largest + 1, tf.cast(tf.reshape(tf.round(w / step), [-1]), tf.int32)
            counts = tf.math.bincount(places + largest, minlength=size, maxlength=size)
            return tf.ensure_shape(tf.cast(counts, tf.int64), [size])

        def running_sum(self, values: Array) -> Array:
            return tf.concat([tf.zeros([1], tf.int64), tf.cumsum(values)], 0)

        def at(self, values: Array, place: Any) -> Array:
            return tf.gather(values, place)  # One operation, where an index in brackets makes eight.

        def where(self, condition: Any, values: Any, others: Any) -> Array:
            if isinstance(condition, np.ndarray):  # TensorFlow makes a constant of booleans one by one.
                condition = tf.cast(condition.view(np.uint8), tf.bool)
            return tf.where(condition, values, others)

        def lowest_row(self, values: Array) -> Array:
            return tf.argmin(values, axis=0)

        def row_minimum(self, values: Array) -> Array:
            return tf.reduce_min(values, axis=1)

        def column_sum(self, values: Array) -> Array:
            return tf.reduce_sum(values, axis=0)

        def stack(self, values: list[Array]) -> Array:
            return tf.stack(values)

        def as_float(self, values: Array) -> Array:
            return tf.cast(values, tf.float32)

        def traced_once(self, function: Counted, counts: Array, number: int) -> Array:
            return _graph_of(function, counts.shape[0], number)(counts)

        def before(self, value: Array, values: Array) -> Array:
            return tf.concat([value[None], values], 0)

    return TensorFlowOperations()


@cache
def _graph_of(function: Counted, size: int, number: int) -> Callable[[Array], Array]:
    operations = tensorflow_operations()
    return as_graph(lambda counts: function(counts, number, operations), size, "int64")


def as_graph(function: Callable[[Array], Array], size: int | None, dtype: str) -> Callable[[Array], Array]:
    """Return a function of a tensor (size,) as a graph that others call, and that is optimised by itself."""
    import tensorflow as tf

    graph = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
    with tf.init_scope(), tf.device(None):  # It belongs to no graph and no device that it happens to be made in.
        return graph.get_concrete_function(tf.TensorSpec([size], dtype))  # type: ignore[no-any-return]
