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

from tf_laq._internal.typed import typed
from tf_laq.errors import InputError
from tf_laq.tflite.coding import INTEGER_BITS, unpack
from tf_laq.tflite.encodings import EncodingName
from tf_laq.tflite.graph import Graph, text
from tf_laq.tflite.running import read_file
from tf_laq.tflite.verifying import MAX_BYTES, verify

_INTEGER_TYPES: dict[int, EncodingName] = {
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT4: "int4",
    schema.TensorType.INT2: "int2",
}
_INDEX_BYTES = {
    schema.SparseIndexVector.Uint8Vector: 1,
    schema.SparseIndexVector.Uint16Vector: 2,
    schema.SparseIndexVector.Int32Vector: 4,
}
_SHOWN_LEVELS = 9
_WORD_BITS = 32
_EVERY_ROW = 2**31
_SCALE_BYTES = 4
_LONGEST_DECODER = 16


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A weight tensor as the file stores it.

    Attributes:
        name: Its name in the file.
        shape: Its shape in the file.
        encoding: "int8", "int4", "int2", "sparse", "codebook", "float16" or "float32".
        bits: Stored bits a weight; digits of words and tensors without their zeros take a fraction.
        bytes: Bytes of the codes and their places, the scales or codebook, and the factors; a codebook that several
            tensors share counts for the first.
        codebook: The levels that occur, ascending, before any factors; None for float32.
        factors: Number of factors: one a channel if a normalisation was folded in, else 0.
        zeros: The share of its weights that is zero and not stored; None for all encodings but "sparse".
    """

    name: str
    shape: tuple[int, ...]
    encoding: EncodingName
    bits: float
    bytes: int
    codebook: npt.NDArray[np.float32] | None
    factors: int
    zeros: float | None = None


@dataclasses.dataclass(frozen=True)
class FileContents:
    """What a file holds.

    Attributes:
        tensors: Its weight tensors.
        operators: Name -> version.
        runtime: The oldest runtime that it names, or "".
        file_bytes: Its size.
        plan: The `digest` of the plan that it was made by, or "".
    """

    tensors: tuple[StoredTensor, ...]
    operators: dict[str, int]
    runtime: str
    file_bytes: int
    plan: str = ""

    def __str__(self) -> str:
        headers = ["tensor", "shape", "encoding", "bits", "bytes", "zeros", "levels", "factors", "codebook"]
        rows = [
            [
                t.name or "-",
                "x".join(map(str, t.shape)),
                t.encoding,
                f"{t.bits:.3g}",
                t.bytes,
                None if t.zeros is None else f"{t.zeros:.1%}",
                None if t.codebook is None else t.codebook.size,
                t.factors or None,
                _levels(t.codebook),
            ]
            for t in self.tensors
        ]
        operators = ", ".join(f"{name} {version}" for name, version in sorted(self.operators.items()))
        return "\n".join(
            [
                tabulate(rows, headers, missingval="-", disable_numparse=[0, 1, 2, 5, 8])
                if rows
                else "no weight tensors",
                f"operators and versions: {operators}",
                f"oldest runtime: TensorFlow Lite {self.runtime or 'not named'}",
                f"plan: {f'SHA-256 {self.plan}' if self.plan else 'not named'}",
                f"file: {self.file_bytes:,} bytes",
            ]
        )


@typed
def inspect(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> FileContents:
    """Return what a TensorFlow Lite file, compressed (.gz, .xz) or not, holds; printed, it is a table.

    Args:
        path: The file.
        max_bytes: The limit of the decompressed file, of all constants in it together, and of every tensor.

    Raises:
        InputError: The file is missing, truncated, damaged or of another kind, or it exceeds the limit.
    """
    return read_contents(read_file(path, max_bytes), str(path), max_bytes)


def read_contents(content: bytes, source: str = "content", max_bytes: int = MAX_BYTES) -> FileContents:
    """Return what the bytes of a TensorFlow Lite file hold.

    Raises:
        InputError: They are not a whole TensorFlow Lite file.
    """
    verify(content, source, max_bytes)
    graph = Graph(content, source)
    try:
        counted: set[int] = set()
        variables = _variables(graph)
        found = {key: tensor for s in graph.subgraphs for key, tensor in _tensors(graph, s, variables, counted)}
        operators, runtime, plan = graph.operators_used(), graph.runtime(), graph.plan()
        return FileContents(tuple(found.values()), operators, runtime, len(content), plan)
    except Exception as error:  # Numbers of a damaged file lead anywhere.
        received = f"{len(content):,} bytes that do not hold together ({error!r})"
        raise InputError(source, expected="a whole TensorFlow Lite file", received=received) from error


def _tensors(
    graph: Graph, subgraph: Any, variables: dict[str, _Variable], counted: set[int]
) -> Iterator[tuple[Any, StoredTensor]]:
    """Give the weight tensors of a subgraph, each with what tells it from others.

    A buffer counts for the first tensor that has it: the numbers of those that are counted go into `counted`.
    """
    producers, is_in_decoder = _producers(subgraph), _is_in_decoder(graph, subgraph)
    splits = {op.inputs[0]: op for op in reversed(subgraph.operators) if graph.code_name(op) == "SPLIT_V"}
    for operator in subgraph.operators:
        if graph.code_name(operator) == "READ_VARIABLE":
            name = _shared_name(producers.get(operator.inputs[0]))
            variable = variables.get(name)
            places, ends = _pieces(graph, subgraph, operator.outputs[0], splits.get(operator.outputs[0]))
            for place, start, end in zip(places, [0, *ends], ends, strict=False):
                if variable is not None:
                    stored = variable.piece(subgraph.tensors[place], start, end, variable.buffer not in counted)
                    counted.add(variable.buffer)
                    yield (name, start), stored
    for tensor in subgraph.tensors:
        # Any number of tensors may have the same content, which takes its time once.
        constant = None if tensor.buffer in counted else _constant(graph, tensor, is_in_decoder)
        if constant is not None:
            counted.add(tensor.buffer)
            yield tensor.buffer, constant


def _constant(graph: Graph, tensor: Any, is_in_decoder: bool) -> StoredTensor | None:
    """Return a tensor as the file stores it, or None if it is computed or has no weights."""
    data = graph.data(tensor)
    if data is None:
        return None
    name, shape = text(tensor.name), _shape(tensor)
    scales = None if tensor.quantization is None else tensor.quantization.scale
    if tensor.type in _INTEGER_TYPES and scales is not None and len(scales):
        return _integers(name, shape, _INTEGER_TYPES[tensor.type], data, tensor)
    if tensor.type == schema.TensorType.FLOAT16 and len(shape) > 1:
        levels = np.unique(data.view(np.float16)).astype(np.float32)
        return StoredTensor(name, shape, "float16", 16, data.size, levels, 0)
    if tensor.type == schema.TensorType.FLOAT32 and len(shape) > 1 and not is_in_decoder:
        return StoredTensor(name, shape, "float32", 32, data.size, None, 0)
    return None


def _integers(
    name: str, shape: tuple[int, ...], encoding: EncodingName, data: npt.NDArray[np.uint8], tensor: Any
) -> StoredTensor:
    bits = INTEGER_BITS[encoding]
    codes = np.unique(unpack(data, bits)[: int(np.prod(shape))]).astype(np.int16)
    integers = np.sort(np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes))
    scales = np.asarray(tensor.quantization.scale, np.float32)
    channels = scales.size if scales.size > 1 else 0
    factor_bytes = _SCALE_BYTES * scales.size
    if tensor.sparsity is not None:
        count, size = int(np.prod(shape)), data.size + _place_bytes(tensor.sparsity)
        levels = np.union1d(integers, [0] if data.size < count else []).astype(np.float32)
        codebook = levels * (np.float32(1) if channels else scales[0])
        zeros = 1 - np.count_nonzero(data) / count
        return StoredTensor(name, shape, "sparse", 8 * size / count, size + factor_bytes, codebook, channels, zeros)
    codebook = integers.astype(np.float32) * (np.float32(1) if channels else scales[0])
    return StoredTensor(name, shape, encoding, bits, data.size + factor_bytes, codebook, channels)


def _place_bytes(sparsity: Any) -> int:
    """Return the bytes that say where the values of a tensor without its zeros are."""
    parts = [(axis.arraySegmentsType, axis.arraySegments) for axis in sparsity.dimMetadata]
    parts += [(axis.arrayIndicesType, axis.arrayIndices) for axis in sparsity.dimMetadata]
    return sum(_INDEX_BYTES[kind] * len(part.values) for kind, part in parts if part is not None)


@dataclasses.dataclass(frozen=True)
class _Variable:
    """What a variable gets from codes: the levels and their buffer, the factors, and how many bits hold some codes."""

    levels: npt.NDArray[np.float32]
    buffer: int
    factors: npt.NDArray[np.float32]
    bits: int
    codes: int

    def piece(self, tensor: Any, start: int, end: int, whole: bool) -> StoredTensor:
        """Return the tensor that these rows of it are; `whole` counts the codebook in its bytes."""
        factors = self.factors if self.factors.size == 1 else self.factors[start:end]
        channels = 0 if np.all(factors == factors[:1]) else factors.size
        shape = _shape(tensor)
        size = -(-int(np.prod(shape)) // self.codes) * self.bits // 8
        size += 4 * ((self.levels.size if whole else 0) + (factors.size if self.factors.size > 1 else 0))
        codebook = self.levels if channels else self.levels * factors[:1]
        return StoredTensor(text(tensor.name), shape, "codebook", self.bits / self.codes, size, codebook, channels)


def _pieces(graph: Graph, subgraph: Any, variable: int, split: Any) -> tuple[list[int], list[int]]:
    """Return the tensors that an operator cuts a variable into, and in which row each ends; or the variable."""
    if split is None:
        return [variable], [_EVERY_ROW]
    rows = graph.values(subgraph.tensors[split.inputs[1]])
    return list(split.outputs), [] if rows is None else [int(end) for end in np.cumsum(rows)]


def _variables(graph: Graph) -> dict[str, _Variable]:
    """Return the variables that get their values from codes in subgraphs that run once, by their names."""
    found: dict[str, _Variable] = {}
    for subgraph in graph.subgraphs[1:]:
        producers, rows = _producers(subgraph), dict[int, tuple[int, int]]()
        for operator in subgraph.operators:
            if graph.code_name(operator) == "ASSIGN_VARIABLE":
                handle, values = operator.inputs
                variable = _decoded(graph, subgraph, producers, rows, values)
                if variable is not None:
                    found.setdefault(_shared_name(producers.get(handle)), variable)
    return found


def _decoded(
    graph: Graph, subgraph: Any, producers: dict[int, Any], rows: dict[int, tuple[int, int]], values: int
) -> _Variable | None:
    """Return the variable that gets some values, or None if they do not come from codes."""
    factors = np.ones(1, np.float32)
    for _ in range(_LONGEST_DECODER):
        operator = producers.get(values)
        if operator is None or not operator.inputs:
            return None
        name = graph.code_name(operator)
        if name == "MUL":
            multipliers = _floats(graph, subgraph.tensors[operator.inputs[1]])
            factors = factors if multipliers is None else multipliers.reshape(-1)
        elif name == "GATHER":
            codebook = subgraph.tensors[operator.inputs[0]]
            levels = _floats(graph, codebook)
            bits, codes = _row(graph, subgraph, producers, rows, operator.inputs[1])
            # A table of rows, or of other numbers, is an embedding of somebody else's file.
            if levels is None or levels.ndim != 1 or not codes:
                return None
            return _Variable(levels, codebook.buffer, factors, bits, codes)
        values = operator.inputs[0]
    return None


def _row(
    graph: Graph, subgraph: Any, producers: dict[int, Any], rows: dict[int, tuple[int, int]], codes: int
) -> tuple[int, int]:
    """Return how many bits hold how many codes: 8 codes a row of bit planes, or the digits of a word; 0 if neither.

    What is known of other tensors is in `rows`: one that many operators take is followed once.
    """
    if codes not in rows:
        rows[codes] = _followed(graph, subgraph, producers, rows, codes)
    return rows[codes]


def _followed(
    graph: Graph, subgraph: Any, producers: dict[int, Any], rows: dict[int, tuple[int, int]], codes: int
) -> tuple[int, int]:
    tensor = subgraph.tensors[codes]
    if graph.data(tensor) is not None:
        width = tensor.shape[1] if len(tensor.shape) > 1 else 1
        return (8 * width if tensor.type == schema.TensorType.UINT8 else 0), 8
    operator = producers.get(codes)
    if operator is None or not operator.inputs:
        return 0, 0
    name = graph.code_name(operator)
    if name == "FLOOR_DIV" and subgraph.tensors[operator.inputs[0]].type == schema.TensorType.INT32:
        steps = subgraph.tensors[operator.inputs[1]]
        if graph.data(subgraph.tensors[operator.inputs[0]]) is not None:
            return _WORD_BITS, int(steps.shape[0])
    # The first input of GATHER is the table of parts; the others' further inputs are constants, except ADD's.
    sources = operator.inputs[1:] if name == "GATHER" else operator.inputs[: 2 if name == "ADD" else 1]
    found = [_row(graph, subgraph, producers, rows, source) for source in sources]
    return sum(bits for bits, _ in found), found[0][1] if found else 0


def _floats(graph: Graph, tensor: Any) -> npt.NDArray[np.float32] | None:
    """Return the stored values of a float32 tensor, or None."""
    return graph.values(tensor) if tensor.type == schema.TensorType.FLOAT32 else None


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(tensor.shape)


def _is_in_decoder(graph: Graph, subgraph: Any) -> bool:
    return any(graph.code_name(operator) == "ASSIGN_VARIABLE" for operator in subgraph.operators)


def _producers(subgraph: Any) -> dict[int, Any]:
    return {t: op for op in subgraph.operators for t in (op.outputs if op.outputs is not None else [])}


def _shared_name(operator: Any) -> str:
    options = None if operator is None else operator.builtinOptions
    return text(getattr(options, "sharedName", ""))


def _levels(codebook: npt.NDArray[np.float32] | None) -> str:
    if codebook is None:
        return "-"
    shown = [f"{level:.4g}" for level in codebook]
    half = _SHOWN_LEVELS // 2
    return " ".join(shown if len(shown) <= _SHOWN_LEVELS else [*shown[:half], "...", *shown[-half:]])
