"""Examples that leave an attack one by one, as they are broken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq.attacks.base import Images, Indices

# Those that left are taken out of the batch when fewer than this share is left: each time costs a copy of the batch.
FULL = 0.9


class Leaving:
    """The results of a batch whose examples leave at different steps.

    Args:
        shape: Shape of the batch's images (n, ...).

    Attributes:
        images: The float32 image that each example left with.
        margins: The margins of these images, shape (n,).
        fewest: The batch stays as it is while so many of its examples are left.

    Example:
        >>> batch = Leaving((2, 1, 1, 1))
        >>> batch.leave(np.array([True, False]), tf.ones([2, 1, 1, 1]), np.array([-1.0, 2.0])).tolist()
        [1]
        >>> batch.leave(np.array([True]), tf.zeros([1, 1, 1, 1]), np.array([2.0])).size
        0
        >>> batch.images.ravel().tolist(), batch.margins.tolist()
        ([1.0, 0.0], [-1.0, 2.0])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.images: Images = np.empty(shape, np.float32)
        self.margins = np.empty(shape[0], np.float32)
        self._rows = np.arange(shape[0])
        self._standing = np.ones(shape[0], np.bool_)
        self.fewest = math.ceil(FULL * shape[0])

    def leave(
        self, leaving: npt.NDArray[np.bool_], images: tf.Tensor, margins: npt.NDArray[np.floating]
    ) -> Indices | None:
        """Keep what the examples that leave have reached.

        Args:
            leaving: Whether each example of the current batch leaves; those that left before are passed over.
            images: What each has reached.
            margins: The margins there.

        Returns:
            The places, in the current batch, of the examples that make up the next batch; None if it stays as it is.
        """
        now = np.flatnonzero(leaving & self._standing)
        if not now.size:
            return None
        self.images[self._rows[now]] = tf.gather(images, now).numpy()
        self.margins[self._rows[now]] = margins[now]
        self._standing[now] = False
        if self._standing.sum() >= self.fewest:
            return None
        kept = np.flatnonzero(self._standing)
        self._rows, self._standing = self._rows[kept], self._standing[kept]
        self.fewest = math.ceil(FULL * kept.size)
        return kept


def only(kept: Indices, tensors: Any) -> Any:
    """Return these examples of every tensor of a structure."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, kept), tensors)


def standing(margins: tf.Tensor, broken: tf.Tensor) -> tf.Tensor:
    """Return how many examples have a margin above that of a broken one, as an int32 scalar."""
    return tf.math.count_nonzero(margins > broken, dtype=tf.int32)
