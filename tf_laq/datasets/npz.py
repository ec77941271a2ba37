"""Data sets in .npz files."""

from __future__ import annotations

import os
from collections.abc import Collection

from tf_laq._internal import archives
from tf_laq.datasets.assembling import Pairs
from tf_laq.datasets.parts import PARTS
from tf_laq.datasets.pixels import room_for
from tf_laq.errors import InputError


def read(path: str | os.PathLike[str]) -> Pairs:
    """Return the images and labels in a file by part.

    Raises:
        InputError: It is no such file, has objects in it, which only code could load, the arrays are named
            otherwise than `load` says, or a part is there twice.
    """
    remedy = "Save arrays of numbers, and labels as numbers or texts: np.savez(path, images=images, labels=labels)."
    with archives.opened(path, "a NumPy .npz file of images and labels", remedy) as content:
        named = _named(path, tuple(content))
        return {part: (content.read(images, room_for), content[labels]) for part, (images, labels) in named.items()}


def _named(path: str | os.PathLike[str], keys: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the names of the arrays of images and labels of each part."""
    found: dict[str, tuple[str, str]] = {}
    for images, labels, part in _names():
        if (images in keys) != (labels in keys):
            present, absent = (images, labels) if images in keys else (labels, images)
            raise InputError(str(path), expected=f"{absent} beside {present}", received=", ".join(keys))
        if images in keys and part in found:
            received = f"{found[part][0]} and {images}"
            remedy = "Leave one of the two out, or call it by another part."
            raise InputError(str(path), expected=f"the {part} images once", received=received, remedy=remedy)
        if images in keys:
            found[part] = images, labels
    if not found:
        raise InputError(
            str(path),
            expected="the arrays images and labels; or train_images, train_labels, test_images and test_labels; or, as "
            "in Keras's own files, x_train, y_train, x_test and y_test",
            received=", ".join(keys) or "no array",
        )
    return found


def _names() -> list[tuple[str, str, str]]:
    """Return the names of arrays of images and of labels, with their parts."""
    ours = [(f"{name}_images", f"{name}_labels", part) for name, part in PARTS.items()]
    keras = [(f"x_{name}", f"y_{name}", part) for name, part in PARTS.items()]
    return [("images", "labels", "train"), *ours, *keras]
