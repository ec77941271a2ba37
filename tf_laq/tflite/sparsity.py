"""Integers without their zeros: row by row, which places of the row hold other values, and these values.

A row goes along one axis of the tensor; the other axes number the rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class SparseIntegers:
    """Integers of -128 to 127 without zeros.

    Attributes:
        shape: The shape with them.
        axis: The axis that the rows go along.
        values: int8 (n,), those that are not zero, row after row; one zero if there are none.
        places: uint8, uint16 or int32 (n,), where each is in its row.
        ends: The same, (rows + 1,): how many values there are before each row, and in all.
    """

    shape: tuple[int, ...]
    axis: int
    values: npt.NDArray[np.int8]
    places: npt.NDArray[Any]
    ends: npt.NDArray[Any]


def sparse(integers: npt.NDArray[Any]) -> SparseIntegers:
    """Return integers of -128 to 127 without their zeros, along the axis by which they take the fewest bytes.

    Example:
        >>> found = sparse(np.array([[0, 0, 5], [0, 0, 0], [-7, 0, 1]]))
        >>> found.axis, found.values, found.places, found.ends
        (1, array([ 5, -7,  1], dtype=int8), array([2, 0, 2], dtype=uint8), array([0, 1, 1, 3], dtype=uint8))
    """
    axis = _best_axis(integers.shape, int(np.count_nonzero(integers)))
    table = np.moveaxis(integers, axis, -1).reshape(-1, integers.shape[axis])
    rows, places = np.nonzero(table)
    if not rows.size:  # A file cannot hold a tensor of no values.
        rows, places = np.zeros(1, int), np.zeros(1, int)
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(table)))])
    return SparseIntegers(
        tuple(integers.shape),
        axis,
        table[rows, places].astype(np.int8),
        places.astype(_kind(table.shape[1] - 1)),
        ends.astype(_kind(rows.size)),
    )


def sparse_bytes(shape: Sequence[int], count: int) -> int:
    """Return how many bytes of values, places and ends a tensor takes of which `count` integers are not zero.

    Example:
        >>> sparse_bytes((3, 3, 16, 32), 100), sparse_bytes((1024, 600), 60000)
        (345, 181202)
    """
    return _bytes(shape, _best_axis(shape, count), count)


def _best_axis(shape: Sequence[int], count: int) -> int:
    return min(reversed(range(len(shape))), key=lambda axis: _bytes(shape, axis, count))


def _bytes(shape: Sequence[int], axis: int, count: int) -> int:
    values = max(count, 1)
    rows = math.prod(shape) // shape[axis]
    return values * (1 + _kind(shape[axis] - 1).itemsize) + (rows + 1) * _kind(values).itemsize


def _kind(largest: int) -> np.dtype[Any]:
    """Return the smallest of the format's types for numbers from 0."""
    for kind in (np.uint8, np.uint16):
        if largest <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.int32)
