"""The examples of an evaluation, in parts and in batches."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.batches import ImageData, images_and_labels
from tf_laq._internal.validation import checked_images, checked_indices, checked_labels, whole
from tf_laq.attacks.base import Attack, Images, Indices, Labels, Logits, MinimumNormAttack, margins
from tf_laq.evaluation.outcomes import Correct

Rows = npt.NDArray[np.int64]

# Number of the first examples that are enough to judge a model, or to try an attack in other settings.
LOOKED_AT = 128


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says about versions of the images.

    Attributes:
        predicted: int64 classes (n,): -1, which is no class, where the image is not finite or an output is NaN.
        margins: float32 logit of the true class minus the largest other one (n,), minus infinity in these places.
    """

    predicted: Labels
    margins: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with their labels and their numbers in the data set.

    Attributes:
        images: float32 images (n, height, width, channels).
        labels: int64 labels (n,).
        numbers: int64 numbers (n,), which key the random numbers of attacks.
        batch_size: Size of every batch but the last one, which may have fewer.
        seed: Seed of the random attacks.
    """

    images: Images
    labels: Labels
    numbers: Indices
    batch_size: int
    seed: int

    @classmethod
    def checked(
        cls,
        images: ImageData,
        labels: npt.ArrayLike | None,
        indices: npt.ArrayLike | None,
        batch_size: int,
        seed: int,
    ) -> Examples:
        """Return the examples of these arguments of an evaluation, or raise an `InputError` that names one."""
        images, labels = images_and_labels(images, labels)
        images = checked_images(images)
        labels, numbers = checked_labels(labels, len(images)), checked_indices(indices, len(images))
        whole("batch_size", batch_size)
        whole("seed", seed, minimum=0)
        return cls(images, labels, numbers, min(int(batch_size), len(images)), int(seed))

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of each batch."""
        for start in range(0, len(self.images), self.batch_size):
            yield np.arange(start, min(start + self.batch_size, len(self.images)))

    def first(self, count: int) -> Examples:
        """Return the first examples, at most `count`, in batches of at most the same size."""
        batch_size = min(self.batch_size, count, len(self.images))
        return dataclasses.replace(self.only(np.arange(min(count, len(self.images)))), batch_size=batch_size)

    def parts(self, size: int) -> list[Examples]:
        """Return the examples in as few parts of at most `size` as possible, all of one size or one example less.

        Their batches are equal too, so that none is much smaller than the others.
        """
        count = -(-len(self.images) // size)
        longest = -(-len(self.images) // count)
        batch_size = -(-longest // -(-longest // self.batch_size))
        ends = np.linspace(0, len(self.images), count + 1).astype(int)
        return [
            Examples(self.images[a:b], self.labels[a:b], self.numbers[a:b], batch_size, self.seed)
            for a, b in itertools.pairwise(ends)
        ]

    def only(self, kept: Correct | Rows) -> Examples:
        """Return the examples at these rows, or where the boolean array `kept` is true."""
        images, labels, numbers = self.images[kept], self.labels[kept], self.numbers[kept]
        return dataclasses.replace(self, images=images, labels=labels, numbers=numbers)

    def attacked(self, attack: Attack, logits: Logits) -> Images:
        """Return the adversarial images of an attack on a model."""
        return self._over(lambda *batch, **options: attack(logits, *batch, **options))

    def distortions(self, attack: MinimumNormAttack, logits: Logits) -> npt.NDArray[np.float32]:
        """Return how far the nearest images are that an attack finds to break a model, shape (n,)."""
        return self._over(lambda *batch, **options: attack.search(logits, *batch, **options).distortions)

    def outputs(self, logits: Logits, images: Images) -> npt.NDArray[np.float32]:
        """Return a model's outputs for versions of the images, shape (n, classes)."""
        return np.concatenate([np.asarray(logits(tf.constant(images[rows]))) for rows in self])

    def answers(self, logits: Logits, images: Images) -> Answers:
        """Return what a model says about versions of the images."""
        outputs = self.outputs(logits, images)
        lowest = margins(tf.constant(outputs), tf.constant(self.labels)).numpy()
        sane = np.isfinite(images).reshape(len(images), -1).all(axis=1) & ~np.isnan(outputs).any(axis=1)
        predicted = np.where(sane, np.argmax(outputs, axis=1), -1)
        return Answers(predicted, np.where(sane, np.nan_to_num(lowest, nan=-np.inf), np.float32(-np.inf)))

    def correct(self, logits: Logits, images: Images) -> Correct:
        """Return where a model gives the true labels for versions of the images, shape (n,)."""
        return np.asarray(self.answers(logits, images).predicted == self.labels)

    def _over(self, attack: Callable[..., npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        found = [
            attack(self.images[rows], self.labels[rows], seed=self.seed, indices=self.numbers[rows]) for rows in self
        ]
        return np.concatenate(found)
