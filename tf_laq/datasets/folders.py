"""Data sets in folders of images, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_laq.datasets.assembling import Pairs, to_size
from tf_laq.errors import InputError

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

_PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def read(folder: Path, size: tuple[int, int] | None) -> Pairs:
    """Return the images, as bytes, and the class names in a folder by part.

    Raises:
        InputError: There are no images in it or in one of its classes, an image cannot be read, or they have several
            sizes and `size` is None.
    """
    parts = {_PARTS[inner.name]: inner for inner in _folders(folder) if inner.name in _PARTS}
    listed = {part: _listed(inner) for part, inner in (parts or {"train": folder}).items()}
    colour = _Colour()
    found = {part: (_images(paths, size, colour), labels) for part, (paths, labels) in listed.items()}
    return {part: (images if colour.found else images[..., :1], labels) for part, (images, labels) in found.items()}


class _Colour:
    """Whether an image with colours was among those that were read."""

    found = False


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the paths of the images in the folders of the classes, and the class of each."""
    paths: list[Path] = []
    labels: list[str] = []
    for inner in _folders(folder):
        images = sorted(path for path in inner.rglob("*") if path.suffix.lower() in ENDINGS)
        if not images:
            raise InputError(
                str(inner),
                expected=f"images of the class {inner.name!r} ({', '.join(ENDINGS)})",
                received="none",
                remedy="Remove the folder if it is no class.",
            )
        paths += images
        labels += [inner.name] * len(images)
    if not paths:
        expected = "a folder for each class, with its images, or the folders train and test of such"
        raise InputError(str(folder), expected=expected, received="no folder in it")
    return paths, labels


def _images(paths: Sequence[Path], size: tuple[int, int] | None, colour: _Colour) -> NDArray[np.uint8]:
    """Return images with three channels, equal ones where a file has none of colour."""
    first = _image(paths[0], size)
    images = np.empty((len(paths), *first.shape[:2], 3), np.uint8)
    with ThreadPoolExecutor() as pool:
        for number, image in enumerate(pool.map(lambda path: _image(path, size), paths)):
            if image.shape[:2] != first.shape[:2]:
                different = f"{image.shape[:2]} of {paths[number]} beside {first.shape[:2]} of {paths[0]}"
                raise InputError(
                    "size",
                    expected="a size for images of several sizes",
                    received=f"none, with {different}",
                    remedy="Say the height and width of the model's inputs.",
                )
            # Two and four channels are grey and colour with alpha.
            colour.found |= image.shape[2] > 2
            images[number] = image[..., :3] if image.shape[2] > 2 else image[..., :1]
    return images


def _image(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    import tensorflow as tf

    try:
        image: Any = tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = str(error).partition("} ")[2].partition(" [Op:")[0]
        raise InputError(str(path), expected="an image", received=f"a file that cannot be read: {reason}") from error
    if size is not None and tuple(image.shape[:2]) != size:
        image = to_size(image, size)
    pixels: NDArray[np.uint8] = image.numpy()
    return pixels
