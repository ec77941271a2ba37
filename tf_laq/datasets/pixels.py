"""Arrays of images: in memory, or, where they would fill it, in a temporary file; and whether they are nearly black."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tf_laq.errors import InputError

LARGEST_IN_MEMORY = 2**28
"""Values in the images of a part, which take 1 GiB as float32."""

_AT_A_TIME = 32
# Below, the brightest pixel of a part is darker than an eighth of white.
_DARK = 32


class DarkImagesWarning(UserWarning):
    """Images that are held as bytes are nearly black: their values may not be of 0 to 255."""


def room_for(shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """Return an array for images, whose content is not set.

    A large one is a file without a name in the folder of temporary files, which goes when the array does.

    Raises:
        InputError: There is no room for the file.
    """
    if math.prod(shape) <= LARGEST_IN_MEMORY:
        return np.empty(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(prefix="laq-images-") as file:
            if hasattr(os, "posix_fallocate"):
                # Without it, a disk that is full later on ends the process with a signal.
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise InputError(
            "data",
            expected=f"{size:,} bytes for images in the folder of temporary files",
            received=f"{tempfile.gettempdir()} ({error.strerror})",
            remedy="Make room there, name another folder by TMPDIR, or choose a smaller size of the images.",
        ) from error


def rows_of(images: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Return the images at these rows.

    Example:
        >>> rows_of(np.arange(4)[:, None], np.array([3, 0])).tolist()
        [[3], [0]]
    """
    taken = room_for((len(rows), *images.shape[1:]), images.dtype)
    for first in range(0, len(rows), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        taken[some] = images[rows[some]]
    return taken


def check_brightness(subject: str, pixels: NDArray[np.uint8]) -> None:
    """Refuse bytes whose values are not those of images, in one pass that ends where one is bright.

    Args:
        subject: How an error and a warning name the images.
        pixels: At least one byte.

    Raises:
        InputError: No value is above 1, or all are the same.

    Warns:
        DarkImagesWarning: No value is above 31.

    Example:
        >>> check_brightness("images", np.ones((2, 8, 8, 1), np.uint8))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: images: expected bytes from 0 to 255. Received: none above 1. Bytes are divided by ...
    """
    lowest, highest = 255, 0
    for first in range(0, len(pixels), _AT_A_TIME):
        some = pixels[first : first + _AT_A_TIME]
        lowest, highest = min(lowest, int(some.min())), max(highest, int(some.max()))
        if lowest < highest and highest >= _DARK:
            return
    remedy = (
        "Bytes are divided by 255, and of files of 16 bits only the upper eight are kept: scale the values to the "
        "whole range, or give floats in [0, 1]."
    )
    if highest <= 1:
        raise InputError(subject, expected="bytes from 0 to 255", received=f"none above {highest}", remedy=remedy)
    if lowest == highest:
        remedy = "Check how the images were made."
        raise InputError(subject, expected="images", received=f"{highest} in every pixel", remedy=remedy)
    warnings.warn(
        f"{subject}: the brightest pixel is {highest} of 255: the model will see almost black images. {remedy}",
        DarkImagesWarning,
        stacklevel=5,
    )
