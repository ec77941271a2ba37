"""Data sets in folders of images, one folder a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_laq.datasets.assembling import Pairs, to_size
from tf_laq.datasets.parts import PARTS
from tf_laq.datasets.pixels import room_for
from tf_laq.errors import InputError

_Image = NDArray[np.uint8]
_AT_A_TIME = 32
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")


def read(folder: Path, size: tuple[int, int] | None) -> Pairs:
    """Return the images, as bytes, and the class names in a folder by part.

    Raises:
        InputError: There are no images in it or in one of its classes, or only in folders below a class; a part is
            there twice or beside other folders; an image cannot be read; or they have several sizes and `size` is None.
    """
    listed = {part: _listed(inner) for part, inner in _parts(folder).items()}
    found = {part: (*_images(paths, size), labels) for part, (paths, labels) in listed.items()}
    in_colour = any(has_colour for _, has_colour, _ in found.values())
    return {part: (images if in_colour else images[..., :1], labels) for part, (images, _, labels) in found.items()}


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folder of each part: the folder itself where it has none."""
    parts: dict[str, Path] = {}
    others = [inner.name for inner in _folders(folder) if inner.name.lower() not in PARTS]
    for inner in [inner for inner in _folders(folder) if inner.name.lower() in PARTS]:
        part = PARTS[inner.name.lower()]
        if others:
            raise InputError(
                str(folder),
                expected=f"folders of classes, or of the parts {', '.join(PARTS)}",
                received=f"{others[0]} beside {inner.name}",
                remedy="Rename a class that is called like a part, or put all classes below train; remove what is "
                "neither a class nor a part.",
            )
        if part in parts:
            received = f"{parts[part].name} and {inner.name}"
            remedy = "Join the two, or rename one of them."
            raise InputError(str(folder), expected=f"one folder of {part} images", received=received, remedy=remedy)
        parts[part] = inner
    return parts or {"train": folder}


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
        if not any(path.parent == inner for path in images):
            below = sorted({path.relative_to(inner).parts[0] for path in images})
            more = f" and {len(below) - 1} more" if len(below) > 1 else ""
            raise InputError(
                str(inner),
                expected=f"images of the class {inner.name!r} in the folder itself",
                received=f"images in the folders in it only, {below[0]}{more}",
                remedy=f"If these are the classes, give {inner}, or call it train, validation or test if it is a part; "
                f"if all are of the class {inner.name!r}, put their images into it.",
            )
        paths += images
        labels += [inner.name] * len(images)
    if not paths:
        expected = "a folder for each class, with its images, or the folders train and test of such"
        raise InputError(str(folder), expected=expected, received="no folder in it")
    return paths, labels


def _images(paths: Sequence[Path], size: tuple[int, int] | None) -> tuple[_Image, bool]:
    """Return images with three channels, equal ones where a file has none of colour, and whether one has colour."""
    first, has_colour = _image(paths[0], size), False
    images = room_for((len(paths), *first.shape[:2], 3))
    with ThreadPoolExecutor() as pool:
        for number, image in enumerate(_in_order(pool, lambda path: _image(path, size), paths)):
            if image.shape[:2] != first.shape[:2]:
                different = f"{image.shape[:2]} of {paths[number]} beside {first.shape[:2]} of {paths[0]}"
                raise InputError(
                    "size",
                    expected="a size for images of several sizes",
                    received=f"none, with {different}",
                    remedy="Say the height and width of the model's inputs.",
                )
            # Two and four channels are grey and colour with alpha.
            has_colour |= image.shape[2] > 2
            images[number] = image[..., :3] if image.shape[2] > 2 else image[..., :1]
    return images, has_colour


def _in_order(pool: ThreadPoolExecutor, read: Callable[[Path], _Image], paths: Sequence[Path]) -> Iterator[_Image]:
    """Yield what is read from each path; no more of it waits than is read at a time."""
    for first in range(0, len(paths), _AT_A_TIME):
        yield from pool.map(read, paths[first : first + _AT_A_TIME])


def _image(path: Path, size: tuple[int, int] | None) -> _Image:
    import tensorflow as tf

    try:
        image: Any = tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = str(error).partition("} ")[2].partition(" [Op:")[0]
        raise InputError(str(path), expected="an image", received=f"a file that cannot be read: {reason}") from error
    if size is not None and tuple(image.shape[:2]) != size:
        image = to_size(image, size)
    pixels: _Image = image.numpy()
    return pixels
