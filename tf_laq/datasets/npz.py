"""Data sets in .npz files."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from tf_laq._internal import archives
from tf_laq.datasets.assembling import Pairs
from tf_laq.errors import InputError

_PARTS = {
    "": "train",
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
"""What a part may be called in a file, and is called here; a file of one part need not name it."""


def read(path: str | os.PathLike[str]) -> Pairs:
    """Return the images and labels in a file by part.

    Raises:
        InputError: It is no such file, has objects in it, which only code could load, or the arrays are named
            otherwise than `load` says.
    """
    remedy = "Save arrays of numbers, and labels as numbers or texts: np.savez(path, images=images, labels=labels)."
    found: dict[str, Any] = {}
    with archives.opened(path, "a NumPy .npz file of images and labels", remedy) as content:
        keys = tuple(content)
        for images, labels, part in _names():
            if images in content and labels in content:
                found[part] = content[images], content[labels]
    if not found:
        raise InputError(
            str(path),
            expected="the arrays images and labels; or train_images, train_labels, test_images and test_labels; or, as "
            "in Keras's own files, x_train, y_train, x_test and y_test",
            received=", ".join(keys) or "no array",
        )
    _check_pairs(path, keys)
    return found


def _names() -> list[tuple[str, str, str]]:
    """Return the names of arrays of images and of labels, with their parts."""
    ours = [(f"{p}_images".lstrip("_"), f"{p}_labels".lstrip("_"), part) for p, part in _PARTS.items()]
    return [*ours, *((f"x_{p}", f"y_{p}", part) for p, part in _PARTS.items() if p)]


def _check_pairs(path: str | os.PathLike[str], keys: Collection[str]) -> None:
    for images, labels, _ in _names():
        if (images in keys) != (labels in keys):
            present, absent = (images, labels) if images in keys else (labels, images)
            raise InputError(str(path), expected=f"{absent} beside {present}", received=", ".join(keys))
