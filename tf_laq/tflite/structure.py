"""Reading the tables of a TensorFlow Lite file with every offset, count and size compared with what is there.

A file is a flatbuffer: tables that refer to each other by offsets. Its usual readers follow these wherever they lead.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.tflite.schema import FIELDS, UNIONS

IDENTIFIER = b"TFL3"

_OFFSET_BYTES = 4
_FORMS = {"i1": "<b", "u1": "<B", "i4": "<i", "u4": "<I", "i8": "<q", "u8": "<Q", "f4": "<f", "b1": "<?"}
_TABLES = 1 << 12
_BYTES_A_TABLE = 1 << 15
_LIST_BYTES = 1 << 24
_CONTENT = ("Buffer", "Int32Vector", "Uint16Vector", "Uint8Vector")
"""Tables whose numbers are weights and their places, and no lists of tensors, sides, scales and the like."""


class UnsoundError(ValueError):
    """What is wrong with a file, in a few words."""


class TooLargeError(UnsoundError):
    """What exceeds a limit."""


def read(content: bytes, max_bytes: int) -> Any:
    """Return the tables of a file as objects: numbers, arrays, texts and tables under the names of their fields.

    A field that is not in the file is 0 or None. Tables that share a part each have it, and a small file can refer to
    one part over and over again. All together may therefore take twice `max_bytes`, in 4,096 tables and one more for
    every 32 kB of `max_bytes`, and texts and lists, which are not content of tensors, 16 MB.

    Raises:
        UnsoundError: An offset, a count or a size leads out of the file.
        TooLargeError: All parts together exceed the limits.
    """
    if content[4:8] != IDENTIFIER:
        raise UnsoundError("something else in them")
    return _Reader(content, max_bytes).root()


class _Reader:
    def __init__(self, content: bytes, max_bytes: int) -> None:
        self._content = content
        self._bytes_left = 2 * max_bytes
        self._list_bytes_left = _LIST_BYTES
        self._tables_left = _TABLES + max_bytes // _BYTES_A_TABLE

    def root(self) -> Any:
        return self._table(self._target(0), "Model")

    def _number(self, place: int, form: str) -> int:
        try:
            return int(struct.unpack_from(form, self._content, place)[0])
        except struct.error:
            raise UnsoundError(f"an offset that leads to byte {place:,} of {len(self._content):,}") from None

    def _target(self, place: int) -> int:
        return place + self._number(place, "<I")

    def _table(self, place: int, name: str) -> Any:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise TooLargeError("more tables than the limit allows")
        layout = place - self._number(place, "<i")
        if place % _OFFSET_BYTES or layout < 0:
            raise UnsoundError(f"an offset that leads to no {name} table, at byte {place:,}")
        layout_bytes, size = self._number(layout, "<H"), self._number(layout + 2, "<H")
        if layout_bytes < 4 or layout_bytes % 2 or layout + layout_bytes > len(self._content):
            raise UnsoundError(f"a {name} table without a whole list of its fields, at byte {place:,}")
        if size < _OFFSET_BYTES or place + size > len(self._content):
            raise UnsoundError(f"a {name} table of {size} bytes at byte {place:,} of {len(self._content):,}")
        table = SimpleNamespace()
        fields = FIELDS.get(name, [])
        listed = min(len(fields), layout_bytes // 2 - 2)
        starts = (*struct.unpack_from(f"<{listed}H", self._content, layout + 4), *[0] * (len(fields) - listed))
        for (field, kind), start in zip(fields, starts, strict=True):
            if not kind:
                continue
            form = _FORMS.get(kind)
            if start and start + (_OFFSET_BYTES if form is None else int(kind[1])) > size:
                raise UnsoundError(f"a {name} table whose {field} is outside of it, at byte {place:,}")
            if form is not None:
                value: Any = struct.unpack_from(form, self._content, place + start)[0] if start else 0
            elif kind in UNIONS:
                value = self._union(place + start, kind, getattr(table, f"{field}_type"), field) if start else None
            else:
                value = self._part(self._target(place + start), kind, name) if start else None
            setattr(table, field, value)
        return table

    def _union(self, place: int, union: str, number: int, field: str) -> Any:
        if number > len(UNIONS[union]):
            raise UnsoundError(f"{field} of the unknown kind {number}")
        return self._table(self._target(place), UNIONS[union][number - 1]) if number else None

    def _part(self, place: int, kind: str, within: str) -> Any:
        if kind == "text":
            text = self._list(place, "u1")
            if self._number(place + _OFFSET_BYTES + len(text), "<B"):
                raise UnsoundError(f"a text that does not end, at byte {place:,}")
            return bytes(text).decode("utf-8", "replace")
        if not kind.startswith("["):
            return self._table(place, kind)
        element = kind[1:-1]
        if element[0].islower():
            return self._vector(place, element) if within in _CONTENT else self._list(place, element)
        first, offsets = place + _OFFSET_BYTES, self._list(place, "u4").tolist()
        return [self._table(first + _OFFSET_BYTES * number + offset, element) for number, offset in enumerate(offsets)]

    def _list(self, place: int, kind: str) -> npt.NDArray[Any]:
        found = self._vector(place, kind)
        self._list_bytes_left -= found.nbytes
        if self._list_bytes_left < 0:
            raise TooLargeError(f"texts and lists of more than {_LIST_BYTES:,} bytes")
        return found

    def _vector(self, place: int, kind: str) -> npt.NDArray[Any]:
        count, size = self._number(place, "<I"), int(kind[1:])
        if place % _OFFSET_BYTES or place + _OFFSET_BYTES + count * size > len(self._content):
            raise UnsoundError(f"{count:,} numbers of {size} bytes at byte {place:,} of {len(self._content):,}")
        self._bytes_left -= count * size
        if self._bytes_left < 0:
            raise TooLargeError("more content than the limit allows")
        return np.frombuffer(self._content, f"<{kind}", count, place + _OFFSET_BYTES)
