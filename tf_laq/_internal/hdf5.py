"""The checksum of an HDF5 file, which has none of its own."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from tf_laq._internal import limits
from tf_laq.errors import InputError

_CHECKSUM = "tf_laq_checksum"
_BYTES_AT_A_TIME = 2**24


def sign(path: str | os.PathLike[str]) -> None:
    """Put the checksum of a file's content into the file, as an attribute, so that the two cannot be parted."""
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs[_CHECKSUM] = _of(file)


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose content has not the checksum in it. Files of others, which have none, pass.

    Raises:
        InputError: The same; or the file declares more content than the limit on memory allows.
    """
    import h5py

    with h5py.File(path) as file:
        found = file.attrs.get(_CHECKSUM)
        if found is None:
            return
        sizes: list[int] = []
        file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
        limits.check(str(path), sum(sizes))
        if found != _of(file):
            raise InputError(
                str(path),
                expected="the model that was saved, with the checksum of its content",
                received="other content: the file is damaged, or was edited",
                remedy="Restore it from a copy, or save the model again.",
            )


def _of(file: Any) -> str:
    """Return the SHA-256 of the names, attributes and values of all that is in a file."""
    digest = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        attributes = {key: value for key, value in sorted(item.attrs.items()) if key != _CHECKSUM}
        digest.update(repr([name, *((key, _plain(value)) for key, value in attributes.items())]).encode())
        if hasattr(item, "shape"):
            digest.update(f"{item.dtype.str}{item.shape}".encode())
            for piece in _pieces(item):
                digest.update(np.ascontiguousarray(piece).tobytes())

    add("", file)
    file.visititems(add)
    return digest.hexdigest()


def _pieces(item: Any) -> Any:
    """Yield the values of a dataset."""
    if not item.shape:
        yield item[()]
        return
    rows = max(_BYTES_AT_A_TIME * item.shape[0] // max(item.nbytes, 1), 1)
    for first in range(0, item.shape[0], rows):
        yield item[first : first + rows]


def _plain(value: Any) -> Any:
    return (value.dtype.str, value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else value
