"""Whether the numbers in a TensorFlow Lite file hold together, before anything computes with them.

The runtime trusts a file in places: a sparse index or a subgraph that calls itself can end the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.errors import InputError
from tf_laq.tflite.sealing import check_seal
from tf_laq.tflite.structure import TooLargeError, UnsoundError, read

MAX_BYTES = 1 << 30
"""The default limit of a decompressed file, of all constants in it together, and of every tensor."""

RAISE = "If you trust the file, raise the limit: laq.tflite.load(path, max_bytes=...), laq inspect --max_bytes ...."

_VERSION = 3
_TYPE_BITS = (32, 16, 32, 8, 64, None, 8, 16, 64, 8, 64, 128, 64, None, None, 32, 16, 4, 16, 2, 4, 8, 8)
"""Bits of a value of each tensor type; None for strings, resources and variants."""
_STRING = 5
_DENSE, _CSR = 0, 1
_DEEPEST = 64
_SUBGRAPH_FIELDS = ("subgraph", "subgraph_index", "subgraph_indices")
_NOTHING: tuple[Any, ...] = ()


def verify(content: bytes, source: str = "content", max_bytes: int = MAX_BYTES) -> None:
    """Raise an `InputError` if bytes are no TensorFlow Lite file whose parts hold together.

    Args:
        content: The bytes.
        source: Names the file in errors.
        max_bytes: The limit of the file, of all constants in it together, and of every tensor.
    """
    expected, received = "a whole TensorFlow Lite file", f"{len(content):,} bytes"
    try:
        model = read(content, max_bytes)
        check_seal(content, model)
        _File(content, model, max_bytes).verify()
    except TooLargeError as error:
        received = f"{received} with {error}"
        raise InputError(source, expected=f"{expected} within the limit", received=received, remedy=RAISE) from error
    except UnsoundError as error:
        remedy = "It may be truncated or damaged: export the model again."
        raise InputError(source, expected=expected, received=f"{received} with {error}", remedy=remedy) from error


class _File:
    def __init__(self, content: bytes, model: Any, max_bytes: int) -> None:
        self._content = content
        self._model = model
        self._max_bytes = max_bytes
        self._constants_left = max_bytes

    def verify(self) -> None:
        model = self._model
        if model.version != _VERSION:
            raise UnsoundError(f"version {model.version} of the format in place of {_VERSION}")
        subgraphs, self._buffers = model.subgraphs or [], model.buffers or []
        if not subgraphs or not self._buffers:
            raise UnsoundError("no graph")
        if model.external_buffers or model.external_buffer_groups:
            raise UnsoundError("weights that are in another file")
        self._sizes = [self._buffer_bytes(number, buffer) for number, buffer in enumerate(self._buffers)]
        _within(self._metadata_buffers(), len(self._buffers), "buffers, in the metadata")
        for number, subgraph in enumerate(subgraphs):
            try:
                self._subgraph(subgraph)
            except UnsoundError as error:
                raise type(error)(f"{error}, in graph {number}") from None
        for signature in model.signature_defs or []:
            _within([signature.subgraph_index], len(subgraphs), "graphs, in a signature")
            used = [each.tensor_index for each in (*(signature.inputs or []), *(signature.outputs or []))]
            _within(used, len(subgraphs[signature.subgraph_index].tensors), "tensors, in a signature")
        _check_calls([[*_called(subgraph)] for subgraph in subgraphs])

    def _buffer_bytes(self, number: int, buffer: Any) -> int:
        """Return the bytes of a buffer, whose content is in its table or, by an offset, behind all tables."""
        if buffer.data is not None and len(buffer.data) and buffer.offset:
            raise UnsoundError(f"buffer {number} in two places")
        if not buffer.offset:
            return 0 if buffer.data is None else len(buffer.data)
        if buffer.offset + buffer.size > len(self._content):
            raise UnsoundError(f"buffer {number} up to byte {buffer.offset + buffer.size:,} of {len(self._content):,}")
        return int(buffer.size)

    def _metadata_buffers(self) -> list[int]:
        listed = self._model.metadata_buffer
        return [entry.buffer for entry in self._model.metadata or []] + ([] if listed is None else listed.tolist())

    def _subgraph(self, subgraph: Any) -> None:
        tensors = subgraph.tensors or []
        if not tensors:
            raise UnsoundError("no tensors")
        for number, tensor in enumerate(tensors):
            try:
                self._tensor(tensor, len(tensors))
            except UnsoundError as error:
                raise type(error)(f"{error}, in tensor {number}") from None
        for numbers in (subgraph.inputs, subgraph.outputs):
            _within(_numbers(numbers), len(tensors), "tensors, as inputs or outputs")
        self._operators(subgraph.operators or [], tensors)

    def _tensor(self, tensor: Any, count: int) -> None:
        _within([tensor.type], len(_TYPE_BITS), "types")
        _within([tensor.buffer], len(self._buffers), "buffers")
        if tensor.external_buffer:
            raise UnsoundError("weights that are in another file")
        shape, bits = _numbers(tensor.shape), _TYPE_BITS[tensor.type]
        if min(shape, default=0) < 0:
            raise UnsoundError(f"the shape {tuple(shape)}")
        size, stored = -(-math.prod(shape) * (bits or 8) // 8), self._sizes[tensor.buffer]
        if size > self._max_bytes:
            raise TooLargeError(f"the shape {tuple(shape)}, which takes more than {self._max_bytes:,} bytes")
        self._constants_left -= stored
        if self._constants_left < 0:
            raise TooLargeError(f"constants of more than {self._max_bytes:,} bytes")
        if tensor.quantization is not None:
            _check_quantization(tensor.quantization, shape, count)
        if tensor.sparsity is not None:
            size = -(-_sparse_values(tensor.sparsity, shape) * (bits or 8) // 8)
        if stored and bits is not None and stored != size:
            raise UnsoundError(f"{stored:,} bytes for the {size:,} of the shape {tuple(shape)}")
        if stored and tensor.type == _STRING:
            _check_strings(self._data(tensor.buffer), math.prod(shape))

    def _data(self, number: int) -> npt.NDArray[np.uint8]:
        buffer = self._buffers[number]
        if buffer.offset:
            return np.frombuffer(self._content, np.uint8, buffer.size, buffer.offset)
        return np.asarray(buffer.data)

    def _operators(self, operators: Sequence[Any], tensors: Sequence[Any]) -> None:
        codes, size = len(self._model.operator_codes or []), len(self._content)
        for operator in operators:
            _within([operator.opcode_index], codes, "kinds of operators")
            inputs, outputs = _numbers(operator.inputs), _numbers(operator.outputs)
            # -1 is an input that is left out.
            _within((t for t in inputs if t != -1), len(tensors), "tensors, as the input of an operator")
            computed = (*outputs, *_numbers(operator.intermediates))
            _within(computed, len(tensors), "tensors, as the output of an operator")
            if any(self._sizes[tensors[t].buffer] for t in outputs):
                raise UnsoundError("an operator that writes into a constant")
            if len(_numbers(operator.mutating_variable_inputs)) > len(inputs):
                raise UnsoundError("an operator with more variables than inputs")
            if operator.large_custom_options_offset + operator.large_custom_options_size > size:
                raise UnsoundError("an operator with options outside of the file")
        made = {t: number for number, operator in enumerate(operators) for t in _numbers(operator.outputs)}
        for number, operator in enumerate(operators):
            late = any(made.get(t, -1) >= number for t in _numbers(operator.inputs))
            if late or any(made[t] != number for t in _numbers(operator.outputs)):
                raise UnsoundError("operators that are not in the order in which they compute")


def _within(numbers: Iterable[int], count: int, what: str) -> None:
    for number in numbers:
        if not 0 <= number < count:
            raise UnsoundError(f"number {number} of {count} {what}")


def _numbers(vector: npt.NDArray[Any] | None) -> list[int]:
    found: list[int] = [] if vector is None else vector.tolist()
    return found


def _check_quantization(quantization: Any, shape: Sequence[int], tensors: int) -> None:
    scales, zeros = len(_numbers(quantization.scale)), len(_numbers(quantization.zero_point))
    axis = quantization.quantized_dimension
    if scales > 1 and not (0 <= axis < len(shape) and shape[axis] == scales):
        raise UnsoundError(f"{scales} scales along axis {axis} of the shape {tuple(shape)}")
    if zeros not in (0, 1, scales):
        raise UnsoundError(f"{zeros} zero points and {scales} scales")
    details = quantization.details
    if hasattr(details, "block_size"):
        # -1 is a tensor that is left out.
        _within((t for t in (details.scales, details.zero_points) if t != -1), tensors, "tensors, as scales")
        if details.block_size < 0:
            raise UnsoundError(f"blocks of {details.block_size} values")


def _sparse_values(sparsity: Any, shape: Sequence[int]) -> int:
    """Return how many values of a tensor are stored: those that its places say, blocks of them if it has blocks."""
    order, blocked = _numbers(sparsity.traversal_order), _numbers(sparsity.block_map)
    levels = sparsity.dim_metadata or []
    if sorted(order) != list(range(len(shape) + len(blocked))) or len(levels) != len(order):
        raise UnsoundError(f"places of {len(levels)} axes for the shape {tuple(shape)}")
    _within(blocked, len(shape), "axes, of blocks")
    blocks = [1] * len(shape)
    for axis, level in zip(order, levels, strict=True):
        if axis >= len(shape):
            if level.format != _DENSE or level.dense_size < 1:
                raise UnsoundError("blocks that are not whole")
            blocks[blocked[axis - len(shape)]] *= level.dense_size
    if any(side % block for side, block in zip(shape, blocks, strict=True)):
        raise UnsoundError(f"blocks that do not divide the shape {tuple(shape)}")
    count = 1
    for axis, level in zip(order, levels, strict=True):
        side = shape[axis] // blocks[axis] if axis < len(shape) else level.dense_size
        if level.format == _DENSE and level.dense_size == side:
            count *= side
        elif level.format == _CSR:
            count = _places(level, count, side)
        else:
            raise UnsoundError(f"{level.dense_size} places of axis {axis} of the shape {tuple(shape)}")
    return count


def _places(level: Any, rows: int, side: int) -> int:
    """Return how many places some rows have together."""
    if level.array_segments is None or level.array_indices is None:
        raise UnsoundError("rows without places")
    ends, places = (part.values for part in (level.array_segments, level.array_indices))
    ends, places = (np.zeros(0, np.int64) if part is None else part.astype(np.int64) for part in (ends, places))
    if len(ends) != rows + 1 or ends[0] != 0 or ends[-1] != len(places) or np.any(np.diff(ends) < 0):
        raise UnsoundError(f"{len(places)} places that are not those of {rows} rows")
    if len(places) and not 0 <= places.min() <= places.max() < side:
        raise UnsoundError(f"places beyond the {side} of a row")
    return len(places)


def _check_strings(data: npt.NDArray[np.uint8], count: int) -> None:
    """Raise an `UnsoundError` if data is not the number of strings, where each begins and the last ends, and they."""
    if len(data) < 4 * (count + 2) or data[:4].view("<i4")[0] != count:
        raise UnsoundError(f"no {count} strings")
    ends = data[4 : 4 * (count + 2)].view("<i4")
    if ends[0] != 4 * (count + 2) or np.any(np.diff(ends.astype(np.int64)) < 0) or ends[-1] != len(data):
        raise UnsoundError("strings outside of their buffer")


def _called(subgraph: Any) -> Iterator[int]:
    """Give the numbers of the subgraphs that the operators of one call."""
    for operator in subgraph.operators or []:
        for options in (operator.builtin_options, operator.builtin_options2):
            for name, value in vars(options).items() if options is not None else _NOTHING:
                if name.endswith(_SUBGRAPH_FIELDS):
                    yield from [value] if isinstance(value, int) else _numbers(value)


def _check_calls(called: Sequence[Sequence[int]]) -> None:
    """Raise an `UnsoundError` if a subgraph calls one that is not there, or itself by way of others."""
    _within((number for numbers in called for number in numbers), len(called), "graphs, called by an operator")
    waiting = {number: set(numbers) for number, numbers in enumerate(called)}
    for _ in range(_DEEPEST):
        waiting = {number: numbers for number, numbers in waiting.items() if numbers & waiting.keys()}
    if waiting:
        raise UnsoundError(f"a graph that calls itself, or others {_DEEPEST} deep")
