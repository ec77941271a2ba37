"""What a data set is: images and labels in three parts."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_laq._internal import archives
from tf_laq.datasets import pixels

PARTS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
"""What a part may be called in a file or folder, there in capitals too, and is called here."""


@dataclass(frozen=True, eq=False)
class ScaledImages:
    """Images that are held as bytes, and read as float32 in [0, 1].

    An index gives what it would give of the array of all of them; `np.asarray` makes that array, which takes four times
    the memory.

    Attributes:
        pixels: uint8 (n, height, width, channels).

    Example:
        >>> images = ScaledImages(np.full((3, 8, 8, 1), 255, np.uint8))
        >>> images.shape, images[:2].dtype, float(images[0].max())
        ((3, 8, 8, 1), dtype('float32'), 1.0)
    """

    pixels: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of images, height, width and channels."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """That of what is read."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        read: NDArray[np.float32] = np.divide(self.pixels[index], 255.0, dtype=np.float32)
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in the same order.

    Attributes:
        images: float32 (n, height, width, channels) in [0, 1]. More than 1 GiB of them are held as bytes in a
            file.
        labels: int64 (n,), from 0.
    """

    images: NDArray[np.float32] | ScaledImages
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, images: NDArray[np.uint8] | NDArray[np.float32], labels: NDArray[np.int64]) -> Split:
        """Return a split of bytes, which are scaled to [0, 1], or of float32 images."""
        if images.dtype != np.uint8:
            return cls(images.astype(np.float32, copy=False), labels)
        scaled = ScaledImages(images.astype(np.uint8, copy=False))
        return cls(scaled if images.size > pixels.LARGEST_IN_MEMORY else scaled[:], labels)

    @property
    def sha256(self) -> str:
        """SHA-256 of the images as they are read and the labels, with shapes and dtypes, as hexadecimal text.

        That of images that are held as bytes is the same as if they were held as float32.

        Example:
            >>> from tf_laq import datasets
            >>> datasets.load("digits").test.sha256[:8]
            '6e5a39fd'
        """
        return archives.sha256([self.images, self.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {'x'.join(map(str, self.images.shape[1:]))})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in three disjoint parts.

    Attributes:
        name: The name or path that `load` knows it by.
        classes: The class names; the label is the index.
        train: What weights are fitted on; may be empty.
        validation: What settings are chosen on; may be empty.
        test: What figures are reported on; always the same images, at least one.
        numbered: Whether the labels were given as numbers. Names are numbered in their order, so a class without
            images would move the numbers of those after it.
        set_aside: Whether the test images were set aside from one part that was given, since there were no others.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    _: KW_ONLY
    numbered: bool = False
    set_aside: bool = False


def stratified(labels: NDArray[np.int64], taken: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split the positions of `labels` into (rest, taken), both sorted, in the proportions of the classes."""
    ranked = in_proportion(labels, seed)
    return np.sort(ranked[taken:]), np.sort(ranked[:taken])


def in_proportion(labels: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Return the positions of `labels` in a random order of which every first n have the classes in their proportions.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        >>> labels[in_proportion(labels, seed=0)].reshape(4, 2).sum(axis=1).tolist()
        [1, 1, 1, 1]
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # Walking through each class in step does it.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    return np.argsort(position, kind="stable")


def come_by_class(labels: NDArray[np.int64]) -> bool:
    """Return whether images come class by class: neighbours share theirs more often than in any mixed order.

    That is for more than half of those neighbours that would not do so by chance.

    Example:
        >>> come_by_class(np.array([0, 0, 0, 0, 1, 1, 1, 1])), come_by_class(np.array([0, 1, 1, 0, 1, 0, 0, 1]))
        (True, False)
    """
    if len(labels) < 2:
        return False
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    by_chance = float(np.sum(shares**2))
    return float(np.mean(labels[1:] == labels[:-1])) > (1.0 + by_chance) / 2.0
