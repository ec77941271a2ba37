"""Arrays in .npz files: written whole or not at all, piece by piece if need be, and refused if damaged."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal import files
from tf_laq.errors import InputError

Array = npt.NDArray[Any]

_AT_A_TIME = 256


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], expected: str, remedy: str) -> Iterator[Mapping[str, Array]]:
    """Open an archive; its arrays are read when they are asked for.

    Args:
        path: The file.
        expected: What it should be, for errors.
        remedy: What to do if it is not.

    Raises:
        InputError: There is no such file, it is damaged, or what is read from it is not there or does not fit.
    """
    try:
        # NumPy would leave a damaged file open.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as content:
            yield content
    except InputError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, TypeError, AttributeError, ValueError) as error:
        received = f"something else ({type(error).__name__}: {error})"
        raise InputError(str(path), expected=expected, received=received, remedy=remedy) from error


def sha256(arrays: Iterable[Any]) -> str:
    """Return the SHA-256 of arrays in their order, with shapes and dtypes, as hexadecimal text.

    What has a shape, a dtype and slices as an array does is read piece by piece, and has the array's hash.

    Example:
        >>> sha256([np.zeros(2)])[:8] == sha256([np.zeros((1, 2))])[:8]
        False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for piece in _pieces(array):
            digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _pieces(array: Any) -> Iterable[Array]:
    if not array.shape:
        return [array]
    return (array[first : first + _AT_A_TIME] for first in range(0, len(array), _AT_A_TIME))


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays that are in memory, without compression."""
    with files.replacing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # No array is called allow_pickle.


def write_pieces(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], pieces: Mapping[str, Iterator[Array]], count: int
) -> None:
    """Write arrays, compressed; large ones need not be in memory.

    Args:
        path: The file.
        arrays: Small arrays.
        pieces: Arrays of `count` rows each, as their pieces along the first axis, in order.
        count: Number of rows.
    """
    with (
        files.replacing(path) as temporary,
        # Perturbed images compress badly however long one tries.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name, parts in pieces.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_rows(file, parts, count)


def _write_rows(file: IO[bytes], pieces: Iterator[Array], count: int) -> None:
    """Write NumPy's header of an array of `count` rows, then the bytes of its pieces."""
    first = next(pieces)
    descr = np.lib.format.dtype_to_descr(first.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (count, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in itertools.chain([first], pieces):
        file.write(np.ascontiguousarray(piece).tobytes())
