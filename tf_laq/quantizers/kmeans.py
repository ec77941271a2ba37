"""The k-means quantizer: a codebook that fits the weights."""

from __future__ import annotations

import numpy as np

from tf_laq.quantizers.arithmetic import whole_steps
from tf_laq.quantizers.arrays import Array, ArrayOperations
from tf_laq.quantizers.base import Quantizer
from tf_laq.quantizers.registry import register

# As many as an int8 holds on each side.
_STEPS = 127

# A cost and the place that it is reached from share an int64: the cost times this, and the place.
_PLACES = 1 << 9

# Above every sum of squares times _PLACES, and far enough below the int64 range for one of them to be added.
_IMPOSSIBLE = 1 << 61


@register
class KMeans(Quantizer):
    """Codebook of one tensor: the 2**b levels with the smallest squared error, zero among them, 2 to 6 bits.

    The levels are -127 D ... 127 D, for D the smallest power of two that reaches max|W|; those are chosen that fit
    the weights, rounded to whole D, best (k-means in one dimension, solved exactly), and w becomes the nearest one.
    Where few weights are large, as in most trained networks, the levels lie where the weights are, while those of the
    linear quantizer are spread evenly up to max|W|.

    Example:
        >>> KMeans(bits=2).quantize([-0.1, 0.0, 0.1, 0.1, 0.5, 0.5, 12.0, 11.0])
        array([ 0. ,  0. ,  0. ,  0. ,  0.5,  0.5, 12. , 11. ], dtype=float32)
    """

    name = "kmeans"
    min_bits = 2
    max_bits = 6

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the step D, and after it the levels as multiples of D."""
        counts, step = whole_steps(weights, _STEPS, operations)
        return operations.before(step, operations.as_float(operations.traced_once(best_levels, counts, 2**self.bits)))

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2**bits, some of them equal where the weights have fewer values."""
        return scale[1:] * scale[0]

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        # Two levels meet at a multiple of D / 2, so all weights between two multiples have one level. Those around 0
        # may be too small for the division: theirs is 0 on both sides.
        half = scale[0] * np.float32(0.5)
        multiples = operations.constant(np.arange(-2 * _STEPS, 2 * _STEPS + 1)) * half
        table = operations.nearest(self.levels(scale, operations), multiples)
        return operations.look_up(table, operations.ceil(weights / half))


def best_levels(counts: Array, levels: int, operations: ArrayOperations) -> Array:
    """Return the integer levels, zero among them, with the smallest sum of squared distances to what was counted.

    The integers -n ... n fall into intervals with one level each: 0 for the interval around 0, the rounded mean for
    any other. A dynamic program over the ends of the intervals finds the best ones (Bruce 1965, "Optimum
    quantization"; known as one-dimensional k-means).

    Args:
        counts: int64 (2n + 1,), how often each of -n ... n occurs.
        levels: Number of levels, from 1.
        operations: Of the library of `counts`.

    Returns:
        int64 (levels,), ascending.

    Example:
        >>> from tf_laq.quantizers.arrays import NUMPY
        >>> best_levels(np.array([5, 5, 0, 9, 0, 1, 0]), 3, NUMPY)
        array([-3, -2,  0])
    """
    size = counts.shape[0]
    middle = size // 2
    positions = np.arange(size) - middle
    sums = [operations.running_sum(counts * positions**power) for power in (0, 1, 2)]
    # Row j, column i: the interval of the elements i ... j - 1.
    count, total, squares = (running[:, None] - running[None, :] for running in sums)
    end, start = np.ogrid[: size + 1, : size + 1]
    mean = (2 * total + count) // operations.maximum(2 * count, 1)
    level = operations.where(count > 0, mean, np.append(positions, middle))
    level = operations.where((start <= middle) & (middle < end), np.int64(0), level)
    cost = (squares - 2 * level * total + level * level * count) * _PLACES
    from_place = operations.where(start <= end, cost + start, np.int64(_IMPOSSIBLE))
    best, starts = cost[:, 0], []
    for _ in range(levels - 1):
        reached = operations.row_minimum(best + from_place)
        starts.append(reached % _PLACES)
        best = reached - starts[-1]
    right, found = size, []
    for start_of in reversed(starts):
        left = operations.at(start_of, right)
        found.append(operations.at(operations.at(level, right), left))
        right = left
    return operations.stack([operations.at(operations.at(level, right), 0), *reversed(found)])
