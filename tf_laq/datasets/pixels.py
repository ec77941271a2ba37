"""Arrays of images: in memory, or, where they would fill it, in a temporary file."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tf_laq.errors import InputError

LARGEST_IN_MEMORY = 2**28
"""Values in the images of a part, which take 1 GiB as float32."""

_AT_A_TIME = 32


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
