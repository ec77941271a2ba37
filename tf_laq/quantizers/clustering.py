"""The best few levels for many integers, by dynamic programming: exact, and the same in NumPy and TensorFlow.

Everything stays an integer, so there is no rounding in which two libraries could differ.
"""

from __future__ import annotations

import numpy as np

from tf_laq.quantizers.arrays import Array, ArrayOperations

# Above every sum of squares, and far enough below the int64 range for two of them to be added.
_IMPOSSIBLE = 1 << 60


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
    # Row i, column j: the interval of the elements i ... j - 1.
    count, total, squares = (running[None, :] - running[:, None] for running in sums)
    start, end = np.ogrid[: size + 1, : size + 1]
    mean = (2 * total + count) // operations.maximum(2 * count, 1)
    level = operations.where(count > 0, mean, np.append(positions, middle)[:, None])
    level = operations.where((start <= middle) & (middle < end), np.int64(0), level)
    cost = operations.where(start <= end, squares - 2 * level * total + level * level * count, np.int64(_IMPOSSIBLE))
    best, starts = cost[0], []
    for _ in range(levels - 1):
        costs = best[:, None] + cost
        starts.append(operations.lowest_row(costs))
        best = operations.column_minimum(costs)
    right, found = size, []
    for start_of in reversed(starts):
        left = start_of[right]
        found.append(level[left, right])
        right = left
    return operations.stack([level[0, right], *reversed(found)])
