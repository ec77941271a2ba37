"""Arrays in .npz files: written whole or not at all, piece by piece if need be, and refused if damaged."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal import files, limits
from tf_laq.errors import InputError

Array = npt.NDArray[Any]

_AT_A_TIME = 256
_BYTES_AT_A_TIME = 2**18
_ENDING = ".npy"
# Booleans, numbers and texts. All others are pickled, or are no data of ours.
_KINDS = "biufcSU"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LAST_CHARACTER = 0x10FFFF


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], expected: str, remedy: str) -> Iterator[Arrays]:
    """Open an archive of anybody's; its arrays are read when they are asked for.

    An array's size and dtype are checked before it is read, and its content by the CRC of the archive.

    Args:
        path: The file.
        expected: What it should be, for errors.
        remedy: What to do if it is not.

    Raises:
        InputError: There is no such file, it is damaged, it takes more memory than the limit, or what is read from it
            is not there or does not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            limits.check(str(path), sum(member.file_size for member in archive.infolist()))
            yield Arrays(archive)
    except InputError:
        raise
    except Exception as error:  # A damaged file fails in ways of its own.
        received = f"something else ({type(error).__name__}: {error})"
        raise InputError(str(path), expected=expected, received=received, remedy=remedy) from error


@contextlib.contextmanager
def opened_whole(path: str | os.PathLike[str], expected: str, remedy: str) -> Iterator[Arrays]:
    """Open an archive of this module's, which has the arrays that were written and no others.

    Arguments and errors are those of `opened`.
    """
    with opened(path, expected, remedy) as arrays:
        arrays.check()
        yield arrays


class Arrays(Mapping[str, Array]):
    """The arrays of an archive by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members = {member.filename.removesuffix(_ENDING): member for member in archive.infolist()}

    def check(self) -> None:
        """Raise an error if these are other arrays than this module wrote."""
        if self._archive.comment != _checksum(self._archive):
            raise ValueError("other arrays than were written" if self._archive.comment else "no checksum")

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __getitem__(self, name: str) -> Array:
        return self.read(name, np.empty)

    def read(self, name: str, room: Callable[[tuple[int, ...], Any], Array]) -> Array:
        """Return an array, read into the one of this shape and dtype that `room` makes."""
        member = self._members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that NumPy does not use")
        with self._archive.open(member) as file:
            shape, by_columns, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            count = math.prod(shape)
            if dtype.kind not in _KINDS:
                raise ValueError(f"{name} has the dtype {dtype}, which is not one of numbers or texts")
            if count * max(dtype.itemsize, 1) != member.file_size - file.tell():
                raise ValueError(f"{name} has not the size of an array of shape {shape} and dtype {dtype}")
            values = room((count,), dtype)
            _fill(values, file)
        if dtype.kind == "U" and values.size and values.view(f"{dtype.byteorder}u4").max() > _LAST_CHARACTER:
            raise ValueError(f"{name} has texts with characters that do not exist")
        return values.reshape(shape, order="F" if by_columns else "C")


def _fill(values: Array, file: IO[bytes]) -> None:
    """Read an array's bytes, and no more, into it."""
    rest = values.view(np.uint8).data
    while piece := file.read(_BYTES_AT_A_TIME):  # The end has to be read: the CRC is compared there.
        rest[: len(piece)] = piece
        rest = rest[len(piece) :]
    if rest:
        raise EOFError(f"{len(rest)} bytes are missing")


def _checksum(archive: zipfile.ZipFile) -> bytes:
    """Return the SHA-256 of what is in an archive: the names, sizes and CRCs of its members."""
    members = [f"{member.filename} {member.file_size} {member.CRC}" for member in archive.infolist()]
    return hashlib.sha256("\n".join(members).encode()).hexdigest().encode()


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
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write_arrays(archive, arrays)
        archive.comment = _checksum(archive)


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
        _write_arrays(archive, arrays)
        for name, parts in pieces.items():
            with archive.open(name + _ENDING, "w", force_zip64=True) as file:
                _write_rows(file, parts, count)
        archive.comment = _checksum(archive)


def _write_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        with archive.open(name + _ENDING, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _write_rows(file: IO[bytes], pieces: Iterator[Array], count: int) -> None:
    """Write NumPy's header of an array of `count` rows, then the bytes of its pieces."""
    first = next(pieces)
    descr = np.lib.format.dtype_to_descr(first.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (count, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in itertools.chain([first], pieces):
        file.write(np.ascontiguousarray(piece).tobytes())
