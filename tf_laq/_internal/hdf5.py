"""The checksum of an HDF5 file, which has none of its own.

It stands behind the end that HDF5 knows of: its library can hang on damaged metadata, so that a file has to be known
to be whole before the library sees it. Whatever changes the file through HDF5 cuts the checksum off; an attribute says
that there was one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tf_laq.errors import InputError

_SIGNED = "tf_laq_signed"
_MARK = b"\ntf_laq sha256 "
_LENGTH = len(_MARK) + 64
_BYTES_AT_A_TIME = 2**24
_BYTES_OF_A_VALUE = 4
_BESIDE_VALUES = 2**13


def sign(path: str | os.PathLike[str]) -> None:
    """Append the checksum of a file to it."""
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs[_SIGNED] = True
    checksum = _of(path, Path(path).stat().st_size)
    with Path(path).open("ab") as end:
        end.write(_MARK + checksum)


def check_room(folder: str | os.PathLike[str], variables: Iterable[Any]) -> None:
    """Refuse to begin a file for which there is no room: the library crashes at the end of a process that met that.

    Args:
        folder: Where the file is to be.
        variables: What it is to hold.

    Raises:
        OSError: The disk has less space than it takes, or files may not be so large.
    """
    # A table may have a shape that is not known.
    values = [math.prod(side or 0 for side in variable.shape or ()) for variable in variables]
    size = _BYTES_OF_A_VALUE * sum(values) + _BESIDE_VALUES * (1 + len(values))
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with contextlib.suppress(ImportError):  # Windows has no such limit.
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limit != resource.RLIM_INFINITY and limit < size:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose content does not fit its checksum. Files that were never signed pass: others wrote them.

    Raises:
        InputError: The same.
        Exception: HDF5 cannot read the file.
    """
    size = Path(path).stat().st_size - _LENGTH
    with Path(path).open("rb") as file:
        file.seek(max(size, 0))
        end = file.read()
    signed = end.startswith(_MARK)
    if (signed and end != _MARK + _of(path, size)) or (not signed and _was_signed(path)):
        raise InputError(
            str(path),
            expected="the model that was saved, with the checksum of its content",
            received="other content than was written: damaged, or edited",
            remedy="Restore it from a copy, or save the model again.",
        )


def _was_signed(path: str | os.PathLike[str]) -> bool:
    import h5py

    with h5py.File(path) as file:
        return _SIGNED in file.attrs


def _of(path: str | os.PathLike[str], size: int) -> bytes:
    """Return the SHA-256 of the first bytes of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(min(_BYTES_AT_A_TIME, size - file.tell())):
            digest.update(piece)
    return digest.hexdigest().encode()
