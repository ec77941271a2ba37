"""From the objects of a TensorFlow Lite file to its bytes, with everything that repeats written once."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that starts at a multiple of 16 bytes, as the schema demands and its generated code forgets."""

    def Pack(self, builder: Any) -> int:  # noqa: D102, N802
        data = None
        if self.data is not None and len(self.data):
            payload = np.ascontiguousarray(self.data).view(np.uint8).tobytes()
            builder.StartVector(1, len(payload), _BUFFER_ALIGNMENT)
            builder.head = builder.head - len(payload)
            builder.Bytes[builder.head : builder.head + len(payload)] = payload
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors of numbers, and equal tables of numbers, once: shapes, operator options, zero points.

    A flatbuffer refers to its parts by offsets, and any number of them may lead to the same part.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._parts: dict[Any, int] = {}
        self._before = 0
        self._start = 0
        self._alignment = 0
        self._refers = False

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802
        self._before, self._refers, self._alignment = self.Offset(), False, alignment
        self._start = int(super().StartVector(elemSize, numElems, alignment))
        return self._start

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802
        written = int(super().EndVector())
        return self._shared(written, self._start, self._alignment)

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        self._before, self._refers = self.Offset(), False
        super().StartObject(numfields)

    def EndObject(self) -> int:  # noqa: N802
        end = self.objectEnd
        written = int(super().EndObject())
        table = written + int.from_bytes(self._bytes(written, written - 4), "little", signed=True)
        return self._shared(written, end, ("table", table), skipped=4)

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        self._refers = True
        super().PrependUOffsetTRelative(off)

    def _shared(self, written: int, end: int, kind: Any, skipped: int = 0) -> int:
        """Return the offset of an earlier part with the same bytes, taking back this one, or else of this one."""
        if self._refers:
            return written
        first = self._parts.setdefault((kind, self._bytes(written - skipped, end)), written)
        if first != written:
            self.head = len(self.Bytes) - self._before
        return first

    def _bytes(self, start: int, end: int) -> bytes:
        """Return what is between two offsets, which count from the end."""
        return bytes(self.Bytes[len(self.Bytes) - start : len(self.Bytes) - end])


def to_bytes(model: Any) -> bytes:
    """Return the bytes of a file."""
    data = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _SharingBuilder(data + (1 << 16))
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
