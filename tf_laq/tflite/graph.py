"""A TensorFlow Lite file as objects that can be changed, and as bytes, with everything that repeats written once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tf_laq.errors import InputError
from tf_laq.tflite import sealing

_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16
RUNTIME_METADATA = "min_runtime_version"
PLAN_METADATA = "tf_laq_plan_sha256"
_RUNTIME_FIELD_BYTES = 16
_LAST_SHORT_CODE = 127

_NUMPY_TYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
}


@dataclasses.dataclass(frozen=True)
class Constant:
    """A float32 constant of the file: the tensors that share one buffer and shape.

    Attributes:
        buffer: Number of the buffer.
        values: float32.
        places: (subgraph, tensor) of every tensor with these values.
        consumers: Names of the operators that take it, such as "CONV_2D".
        name: Name of the first of these tensors.
        is_output: Whether a subgraph returns it.
    """

    buffer: int
    values: npt.NDArray[np.float32]
    places: tuple[tuple[int, int], ...]
    consumers: frozenset[str]
    name: str
    is_output: bool


class Graph:
    """The content of a TensorFlow Lite file, to be read and changed.

    Args:
        content: The bytes of the file.
        source: Names the file in errors.

    Raises:
        InputError: The bytes are not a whole TensorFlow Lite file.
    """

    def __init__(self, content: bytes, source: str = "content") -> None:
        received = f"{len(content):,} bytes of something else"
        if content[4:8] == _IDENTIFIER:
            try:
                self.model = flatbuffer_utils.read_model_from_bytearray(content)
                if self.model.subgraphs and all(s.tensors for s in self.model.subgraphs):
                    return
            except Exception as error:  # The reader of a damaged file fails wherever its offsets lead.
                received = f"{len(content):,} bytes that do not hold together ({error})"
        expected, remedy = "a whole TensorFlow Lite file", "Export the model again."
        raise InputError(source, expected=expected, received=received, remedy=remedy)

    @property
    def subgraphs(self) -> list[Any]:
        """The subgraphs; the first is the one that runs."""
        return list(self.model.subgraphs)

    def data(self, tensor: Any) -> npt.NDArray[np.uint8] | None:
        """Return the stored bytes of a tensor, or None for one that is computed."""
        found = self.model.buffers[tensor.buffer].data
        return None if found is None or not len(found) else np.asarray(found, np.uint8)

    def values(self, tensor: Any) -> npt.NDArray[Any] | None:
        """Return the stored values of a tensor of a whole-byte type, or None for one that is computed."""
        data = self.data(tensor)
        if data is None or tensor.type not in _NUMPY_TYPES:
            return None
        shape = () if tensor.shape is None else tuple(tensor.shape)
        values: npt.NDArray[Any] = data.view(_NUMPY_TYPES[tensor.type]).reshape(shape)
        return values

    def float_constants(self) -> list[Constant]:
        """Return every float32 constant, of all subgraphs."""
        found: dict[tuple[int, tuple[int, ...]], list[tuple[int, int]]] = {}
        for s, subgraph in enumerate(self.subgraphs):
            for t, tensor in enumerate(subgraph.tensors):
                if tensor.type == schema.TensorType.FLOAT32 and self.data(tensor) is not None:
                    shape = () if tensor.shape is None else tuple(tensor.shape)
                    found.setdefault((tensor.buffer, shape), []).append((s, t))
        return [self._constant(places) for places in found.values()]

    def _constant(self, places: list[tuple[int, int]]) -> Constant:
        first = self.subgraphs[places[0][0]].tensors[places[0][1]]
        values = self.values(first)
        assert values is not None
        consumers = {
            self.code_name(operator)
            for s, t in places
            for operator in self.subgraphs[s].operators
            if t in operator.inputs
        }
        is_output = any(t in self.subgraphs[s].outputs for s, t in places)
        return Constant(first.buffer, values, tuple(places), frozenset(consumers), text(first.name), is_output)

    def code_name(self, operator: Any) -> str:
        """Return the name of an operator's kind, such as "CONV_2D", or its number if it is newer than the schema."""
        return _code_name(self.model.operatorCodes[operator.opcodeIndex])

    def operators_used(self) -> dict[str, int]:
        """Return the names of all operators in the file, each with its highest version."""
        used = {op.opcodeIndex for subgraph in self.subgraphs for op in subgraph.operators}
        codes = sorted((self.model.operatorCodes[index] for index in used), key=lambda code: code.version)
        return {_code_name(code): int(code.version) for code in codes}

    def runtime(self) -> str:
        """Return the oldest runtime that the file says it needs, or "" if it says nothing."""
        return self._metadata(RUNTIME_METADATA).rstrip(b"\0").decode("ascii", "replace")

    def plan(self) -> str:
        """Return the digest of the plan that the file was made by, or "" if it names none."""
        return self._metadata(PLAN_METADATA).hex()

    def _metadata(self, name: str) -> bytes:
        """Return the first metadata of this name, or nothing."""
        places = (entry.buffer for entry in self.model.metadata or [] if text(entry.name) == name)
        data = next((self.model.buffers[place].data for place in places), None)
        return b"" if data is None else bytes(bytearray(data))

    def drop_descriptions(self) -> None:
        """Drop what no runtime needs: descriptions, and the names of all tensors but the inputs and outputs."""
        self.model.description = None
        self.model.metadataBuffer = None
        for number, subgraph in enumerate(self.subgraphs):
            subgraph.name = None
            kept = {*subgraph.inputs, *subgraph.outputs} if number == 0 else set()
            for index, tensor in enumerate(subgraph.tensors):
                tensor.name = tensor.name if index in kept else None
                if tensor.quantization is not None and tensor.quantization.scale is None:
                    tensor.quantization = None

    def add_buffer(self, data: npt.NDArray[Any]) -> int:
        """Add a buffer with the bytes of an array and return its number."""
        self.model.buffers.append(schema.BufferT(data=np.ascontiguousarray(data).reshape(-1).view(np.uint8)))
        return len(self.model.buffers) - 1

    def add_tensor(
        self,
        subgraph: Any,
        shape: Sequence[int],
        kind: int,
        *,
        buffer: int = 0,
        name: str | None = None,
        quantization: Any = None,
    ) -> int:
        """Add a tensor to a subgraph and return its number there."""
        tensor = schema.TensorT(
            shape=[int(side) for side in shape], type=kind, buffer=buffer, name=name, quantization=quantization
        )
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def add_constant(self, subgraph: Any, values: npt.NDArray[Any], name: str | None = None) -> int:
        """Add a constant of a whole-byte type to a subgraph and return its number there."""
        kind = next(kind for kind, numpy_type in _NUMPY_TYPES.items() if values.dtype == numpy_type)
        return self.add_tensor(subgraph, values.shape, kind, buffer=self.add_buffer(values), name=name)

    def operator(
        self, name: str, version: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> Any:
        """Return a new operator; the caller puts it into a subgraph."""
        kind = 0
        if options is not None:
            kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return schema.OperatorT(
            opcodeIndex=self._code(getattr(schema.BuiltinOperator, name), version),
            inputs=list(inputs),
            outputs=list(outputs),
            builtinOptionsType=kind,
            builtinOptions=options,
        )

    def _code(self, builtin: int, version: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if code_of(code) == builtin and code.version == version:
                return index
        short = min(builtin, _LAST_SHORT_CODE)
        code = schema.OperatorCodeT(deprecatedBuiltinCode=short, builtinCode=builtin, version=version)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def add_subgraph(self) -> tuple[int, Any]:
        """Add an empty subgraph and return its number and itself."""
        subgraph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[])
        self.model.subgraphs.append(subgraph)
        return len(self.model.subgraphs) - 1, subgraph

    def to_bytes(self, runtime: str, plan: str = "") -> bytes:
        """Return the file without buffers that nothing refers to, and with what it says of itself.

        That is its checksum, the oldest runtime for it, and the digest of its plan if there is one.
        """
        said = {RUNTIME_METADATA: _padded(runtime), sealing.NAME: np.frombuffer(sealing.BLANK, np.uint8)}
        if plan:
            said[PLAN_METADATA] = np.frombuffer(bytes.fromhex(plan), np.uint8)
        self.model.metadata = [schema.MetadataT(name=n, buffer=self.add_buffer(data)) for n, data in said.items()]
        self._drop_orphans()
        return sealing.sealed(_to_bytes(self.model))

    def _drop_orphans(self) -> None:
        """Drop unused buffers and operator codes; equal small buffers become one."""
        users = [tensor for subgraph in self.subgraphs for tensor in subgraph.tensors] + list(self.model.metadata)
        kept: list[Any] = [_AlignedBuffer()]
        numbers: dict[Any, int] = {}
        for user in users:
            data = self.model.buffers[user.buffer].data if user.buffer else None
            if data is None or not len(data):
                user.buffer = 0
                continue
            key = bytes(bytearray(data)) if len(data) <= 1 << 12 else user.buffer
            if key not in numbers:
                numbers[key] = len(kept)
                kept.append(_AlignedBuffer(data=np.asarray(data, np.uint8)))
            user.buffer = numbers[key]
        self.model.buffers = kept
        used = sorted({op.opcodeIndex for subgraph in self.subgraphs for op in subgraph.operators})
        self.model.operatorCodes = [self.model.operatorCodes[index] for index in used]
        for subgraph in self.subgraphs:
            for operator in subgraph.operators:
                operator.opcodeIndex = used.index(operator.opcodeIndex)


def code_of(code: Any) -> int:
    """Return the number of an operator code's kind, from the field that holds it."""
    return max(int(code.deprecatedBuiltinCode), int(code.builtinCode))


def text(value: Any) -> str:
    """Return a string of the file, which is read as bytes, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def newest(*runtimes: str) -> str:
    """Return the newest of some runtime versions.

    Example:
        >>> newest("2.7", "2.18.0", "")
        '2.18.0'
    """
    return max(runtimes, key=version_key)


def version_key(runtime: str) -> tuple[int, ...]:
    """Return a runtime version as numbers that compare; none for what is no version.

    Example:
        >>> version_key("2.18") == version_key("2.18.0") > version_key("2.7") > version_key("") == ()
        True
    """
    parts = runtime.split(".")
    if not all(part.isdigit() for part in parts):
        return ()
    numbers = [int(part) for part in parts]
    return (*numbers, *[0] * (3 - len(numbers)))


def _padded(runtime: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(runtime.encode("ascii").ljust(_RUNTIME_FIELD_BYTES, b"\0"), np.uint8)


def _code_name(code: Any) -> str:
    number = code_of(code)
    return _code_names().get(number, f"operator {number}")


@functools.cache
def _code_names() -> dict[int, str]:
    return {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that starts at a multiple of 16 bytes, as the schema demands and its generated code forgets."""

    def Pack(self, builder: Any) -> int:  # noqa: N802
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
        part = self._bytes(written - skipped, end)
        first = self._parts.setdefault((kind, hashlib.sha256(part).digest()), written)
        if first != written:
            self.head = len(self.Bytes) - self._before
        return first

    def _bytes(self, start: int, end: int) -> memoryview:
        """Return what is between two offsets, which count from the end."""
        return memoryview(self.Bytes)[len(self.Bytes) - start : len(self.Bytes) - end]


def _to_bytes(model: Any) -> bytes:
    """Return the bytes of a file."""
    data = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _SharingBuilder(data + (1 << 16))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
