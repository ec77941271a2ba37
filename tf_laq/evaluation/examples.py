"""The examples of an evaluation, in batches of one size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq.attacks.base import Images, Indices, Labels, Logits, margins
from tf_laq.evaluation.report import Correct


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with their labels and their numbers in the data set.

    Attributes:
        images: float32 images (n, height, width, channels).
        labels: int64 labels (n,).
        numbers: int64 numbers (n,), which key the random numbers of attacks.
        batch_size: Size of every batch: another size would make TensorFlow trace every model again.
        seed: Seed of the random attacks.
    """

    images: Images
    labels: Labels
    numbers: Indices
    batch_size: int
    seed: int

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Indices]:
        """Yield the rows of each batch; the last example fills the last batch up."""
        for start in range(0, self.batches * self.batch_size, self.batch_size):
            yield np.minimum(np.arange(start, start + self.batch_size), len(self.images) - 1)

    def first(self, count: int) -> Iterator[Indices]:
        """Yield the rows of the first examples, in batches without any filling."""
        count = min(count, len(self.images))
        yield from (np.arange(i, min(i + self.batch_size, count)) for i in range(0, count, self.batch_size))

    def only(self, kept: Correct) -> Examples:
        """Return the examples at which the boolean array `kept` is true."""
        images, labels, numbers = self.images[kept], self.labels[kept], self.numbers[kept]
        return dataclasses.replace(self, images=images, labels=labels, numbers=numbers)

    def correct(self, logits: Logits, images: Images) -> Correct:
        """Return where a model gives the true labels for versions of the images, shape (n,)."""
        predicted = [np.argmax(logits(tf.constant(images[rows])), axis=1) for rows in self]
        return np.asarray(np.concatenate(predicted)[: len(images)] == self.labels)

    def margins(self, logits: Logits, images: Images) -> npt.NDArray[np.float32]:
        """Return a model's margins at versions of the images, shape (n,)."""
        found = [margins(logits(tf.constant(images[rows])), tf.constant(self.labels[rows])) for rows in self]
        return np.concatenate(found)[: len(images)]
