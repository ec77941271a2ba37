"""What a TensorFlow Lite file holds: its weight tensors, their bits and levels, its operators and its runtime."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from tabulate import tabulate

from tf_laq.errors import InputError
from tf_laq.tflite.encodings import INTEGER_BITS, EncodingName, unpack
from tf_laq.tflite.graph import Graph, text
from tf_laq.tflite.running import read_file

_INTEGER_TYPES: dict[int, EncodingName] = {
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT4: "int4",
    schema.TensorType.INT2: "int2",
}
_SHOWN_LEVELS = 9
_WORD_BITS = 32
_SCALE_BYTES = 12  # a float32 scale and an int64 zero point


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A weight tensor as the file stores it.

    Attributes:
        name: Its name in the file.
        shape: Its shape in the file.
        encoding: "int8", "int4", "int2", "codebook" or "float32".
        bits: Stored bits a weight; digits of words take a fraction.
        bytes: Bytes of the codes, the scales or codebook, and the factors.
        codebook: The levels that occur, ascending, before any factors; None for float32.
        factors: Number of factors: one a channel if a normalisation was folded in, else 0.
    """

    name: str
    shape: tuple[int, ...]
    encoding: EncodingName
    bits: float
    bytes: int
    codebook: npt.NDArray[np.float32] | None
    factors: int


@dataclasses.dataclass(frozen=True)
class FileContents:
    """The weight tensors of a file, its operators (name -> version), the oldest runtime it names, and its size."""

    tensors: tuple[StoredTensor, ...]
    operators: dict[str, int]
    runtime: str
    file_bytes: int

    def __str__(self) -> str:
        headers = ["tensor", "shape", "encoding", "bits", "bytes", "levels", "factors", "codebook"]
        rows = [
            [
                t.name or "-",
                "x".join(map(str, t.shape)),
                t.encoding,
                f"{t.bits:.3g}",
                t.bytes,
                None if t.codebook is None else t.codebook.size,
                t.factors or None,
                _levels(t.codebook),
            ]
            for t in self.tensors
        ]
        operators = ", ".join(f"{name} {version}" for name, version in sorted(self.operators.items()))
        return "\n".join(
            [
                tabulate(rows, headers, missingval="-", disable_numparse=[0, 1, 2, 7]),
                f"operators and versions: {operators}",
                f"oldest runtime: TensorFlow Lite {self.runtime or 'not named'}",
                f"file: {self.file_bytes:,} bytes",
            ]
        )


def inspect(path: str | os.PathLike[str]) -> FileContents:
    """Return what a TensorFlow Lite file, compressed (.gz, .xz) or not, holds; printed, it is a table.

    Raises:
        InputError: The file is missing, truncated or of another kind.
    """
    return read_contents(read_file(path), str(path))


def read_contents(content: bytes, source: str = "content") -> FileContents:
    """Return what the bytes of a TensorFlow Lite file hold.

    Raises:
        InputError: They are not a whole TensorFlow Lite file.
    """
    graph = Graph(content, source)
    try:
        found = {key: tensor for s in graph.subgraphs for key, tensor in _tensors(graph, s)}
        return FileContents(tuple(found.values()), graph.operators_used(), graph.runtime(), len(content))
    except Exception as error:  # Numbers of a damaged file lead anywhere.
        received = f"{len(content):,} bytes that do not hold together ({error!r})"
        raise InputError(source, expected="a whole TensorFlow Lite file", received=received) from error


def _tensors(graph: Graph, subgraph: Any) -> Iterator[tuple[Any, StoredTensor]]:
    """Give the weight tensors of a subgraph, each with what tells it from others."""
    producers = {t: op for op in subgraph.operators for t in (op.outputs if op.outputs is not None else [])}
    for operator in subgraph.operators:
        name = graph.code_name(operator)
        if name == "READ_VARIABLE":
            variable = _shared_name(producers.get(operator.inputs[0]))
            decoded = _coded(graph, variable, subgraph.tensors[operator.outputs[0]])
            if decoded is not None:
                yield variable, decoded
    for tensor in subgraph.tensors:
        data = graph.data(tensor)
        shape = tuple(tensor.shape) if tensor.shape is not None else ()
        if data is None:
            continue
        if tensor.type in _INTEGER_TYPES and tensor.quantization is not None:
            yield tensor.buffer, _integers(text(tensor.name), shape, _INTEGER_TYPES[tensor.type], data, tensor)
        elif tensor.type == schema.TensorType.FLOAT32 and len(shape) > 1 and not _is_in_decoder(graph, subgraph):
            yield tensor.buffer, StoredTensor(text(tensor.name), shape, "float32", 32, data.size, None, 0)


def _integers(
    name: str, shape: tuple[int, ...], encoding: EncodingName, data: npt.NDArray[np.uint8], tensor: Any
) -> StoredTensor:
    bits = INTEGER_BITS[encoding]
    codes = np.unique(unpack(data, bits)[: int(np.prod(shape))]).astype(np.int16)
    integers = np.sort(np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes))
    scales = np.asarray(tensor.quantization.scale, np.float32)
    channels = scales.size if scales.size > 1 else 0
    codebook = integers.astype(np.float32) * (np.float32(1) if channels else scales[0])
    return StoredTensor(name, shape, encoding, bits, data.size + _SCALE_BYTES * scales.size, codebook, channels)


def _coded(graph: Graph, variable: str, read: Any) -> StoredTensor | None:
    """Return the tensor that a variable gets from codes in a subgraph that runs once."""
    for subgraph in graph.subgraphs[1:]:
        producers = {t: op for op in subgraph.operators for t in (op.outputs if op.outputs is not None else [])}
        for operator in subgraph.operators:
            if graph.code_name(operator) != "ASSIGN_VARIABLE":
                continue
            handle, values = operator.inputs
            if _shared_name(producers.get(handle)) == variable:
                try:
                    return _decoded(graph, subgraph, producers, values, read)
                except KeyError:  # It gets its values from something else than codes.
                    return None
    return None


def _decoded(graph: Graph, subgraph: Any, producers: dict[int, Any], values: int, read: Any) -> StoredTensor:
    shape = tuple(read.shape)
    factors, scale, codebook = 0, np.ones(1, np.float32), np.zeros(0, np.float32)
    while codebook.size == 0:
        operator = producers[values]
        second = subgraph.tensors[operator.inputs[1]] if len(operator.inputs) > 1 else None
        name = graph.code_name(operator)
        if name == "MUL" and second is not None:
            multipliers = graph.values(second)
            if multipliers is not None and multipliers.size == 1:
                scale = multipliers.reshape(1)
            factors = int(np.prod(second.shape))
        elif name == "GATHER":
            found = graph.values(subgraph.tensors[operator.inputs[0]])
            codebook = np.zeros(1, np.float32) if found is None else found
        values = operator.inputs[1] if name == "GATHER" else operator.inputs[0]
    bits, codes = _row(graph, subgraph, producers, values)
    size = -(-int(np.prod(shape)) // codes) * bits // 8 + 4 * (codebook.size + factors)
    channels = factors if factors > 1 else 0
    return StoredTensor(text(read.name), shape, "codebook", bits / codes, size, codebook * scale, channels)


def _row(graph: Graph, subgraph: Any, producers: dict[int, Any], codes: int) -> tuple[int, int]:
    """Return how many bits hold how many codes: 8 codes a row of bit planes, or the digits of a word."""
    tensor = subgraph.tensors[codes]
    if graph.data(tensor) is not None:
        width = tensor.shape[1] if len(tensor.shape) > 1 else 1
        return (8 * width if tensor.type == schema.TensorType.UINT8 else 0), 8
    operator = producers[codes]
    name = graph.code_name(operator)
    if name == "FLOOR_DIV" and subgraph.tensors[operator.inputs[0]].type == schema.TensorType.INT32:
        steps = subgraph.tensors[operator.inputs[1]]
        if graph.data(subgraph.tensors[operator.inputs[0]]) is not None:
            return _WORD_BITS, int(steps.shape[0])
    # The first input of GATHER is the table of parts; the others' further inputs are constants, except ADD's.
    sources = operator.inputs[1:] if name == "GATHER" else operator.inputs[: 2 if name == "ADD" else 1]
    rows = [_row(graph, subgraph, producers, source) for source in sources]
    return sum(bits for bits, _ in rows), rows[0][1]


def _is_in_decoder(graph: Graph, subgraph: Any) -> bool:
    return any(graph.code_name(operator) == "ASSIGN_VARIABLE" for operator in subgraph.operators)


def _shared_name(operator: Any) -> str:
    options = None if operator is None else operator.builtinOptions
    return text(getattr(options, "sharedName", ""))


def _levels(codebook: npt.NDArray[np.float32] | None) -> str:
    if codebook is None:
        return "-"
    shown = [f"{level:.4g}" for level in codebook]
    half = _SHOWN_LEVELS // 2
    return " ".join(shown if len(shown) <= _SHOWN_LEVELS else [*shown[:half], "...", *shown[-half:]])
