"""Replacing float32 constants of a TensorFlow Lite file by encoded ones, with the operators that decode them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_laq.tflite import encodings
from tf_laq.tflite.encodings import CodedTensor, EncodingName
from tf_laq.tflite.graph import Constant, Graph, newest

_Type = schema.TensorType

_INTEGER_TYPES = {"int8": _Type.INT8, "int4": _Type.INT4, "int2": _Type.INT2}
_DEQUANTIZE_VERSIONS = {"int8": 2, "int4": 6, "int2": 7}
_PER_CHANNEL_INT8_VERSION = 5

_GROUP_CODES = 1 << 20
"""Tensors of up to this many codes together are decoded together: fewer operators, and still little memory."""


_FEW_BYTES = 1 << 17
"""Up to here bytes are taken apart one by one: slower than through a table, which takes half a kilobyte."""


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A constant of the file, what it is as codes, and the encoding to store it in."""

    constant: Constant
    tensor: CodedTensor
    encoding: EncodingName


def rewrite(content: bytes, replacements: Sequence[Replacement]) -> bytes:
    """Return a file with constants stored in other encodings; its outputs stay as they are, to the bit.

    Args:
        content: The file, as it was when its constants were listed.
        replacements: The constants to store otherwise; the rest stays float32.
    """
    graph = Graph(content)
    runtime = graph.runtime()
    graph.drop_descriptions()
    for replacement in replacements:
        for s, t in replacement.constant.places:
            graph.subgraphs[s].tensors[t].name = replacement.tensor.name
    integers = [r for r in replacements if r.encoding in encodings.INTEGER_BITS]
    coded = [r for r in replacements if r.encoding == "codebook"]
    for replacement in integers:
        _store_integers(graph, replacement)
    if coded:
        _store_codes(graph, coded)
    needed = [encodings.runtime(r.encoding, r.tensor) for r in replacements]
    return graph.to_bytes(newest(runtime, *needed))


def _store_integers(graph: Graph, replacement: Replacement) -> None:
    tensor, name = replacement.tensor, replacement.encoding
    scales = tensor.integer_scales()
    version = _DEQUANTIZE_VERSIONS[name]
    if name == "int8" and scales.size > 1:
        version = _PER_CHANNEL_INT8_VERSION
    buffer = graph.add_buffer(encodings.as_integers(tensor, name))
    for subgraph, places in _by_subgraph(graph, replacement.constant):
        quantization = schema.QuantizationParametersT(
            scale=scales, zeroPoint=np.zeros(scales.size, np.int64), quantizedDimension=tensor.axis
        )
        stored = graph.add_tensor(
            subgraph,
            tensor.codes.shape,
            _INTEGER_TYPES[name],
            buffer=buffer,
            name=tensor.name,
            quantization=quantization,
        )
        for place in places:
            _make_computed(subgraph, place)
            subgraph.tensors[place].name = None
            subgraph.operators.insert(0, graph.operator("DEQUANTIZE", version, [stored], [place]))


def _store_codes(graph: Graph, replacements: Sequence[Replacement]) -> None:
    """Store tensors as codes: a subgraph that runs once decodes them into variables, which the rest reads."""
    main = graph.subgraphs[0]
    number, init = graph.add_subgraph()
    decoder = _Decoder(graph, init)
    names = {id(r): f"w{index}" for index, r in enumerate(replacements)}
    for group in _groups(replacements):
        decoder.decode([r.tensor for r in group], [names[id(r)] for r in group])
    for replacement in replacements:
        for subgraph, places in _by_subgraph(graph, replacement.constant):
            for place in places:
                _make_computed(subgraph, place)
                handle = graph.add_tensor(subgraph, [], _Type.RESOURCE)
                read = graph.operator("READ_VARIABLE", 1, [handle], [place])
                subgraph.operators.insert(0, read)
                subgraph.operators.insert(0, _variable(graph, names[id(replacement)], handle))
    once = graph.operator("CALL_ONCE", 1, [], [], schema.CallOnceOptionsT(initSubgraphIndex=number))
    main.operators.insert(0, once)


class _Decoder:
    """Writes the subgraph that decodes codes.

    Bit planes: each byte of a plane is taken apart into 8/p parts, and the parts of all planes add up to a code. Many
    bytes are taken apart through a table of 256 rows, which the subgraph computes itself. Words: each is taken apart
    into its digits, the codes. The codebook then turns the codes into values.
    """

    def __init__(self, graph: Graph, subgraph: Any) -> None:
        self._graph = graph
        self._subgraph = subgraph
        self._tables: dict[tuple[int, int], int] = {}

    def decode(self, tensors: Sequence[CodedTensor], variables: Sequence[str]) -> None:
        """Decode tensors of one width of code into the variables of these names."""
        digits = encodings.digits_of(tensors)
        codes = self._added_planes(tensors) if digits is None else self._digits(tensors, digits)
        side = digits or 8
        shapes = [(-(-tensor.codes.size // side), side) for tensor in tensors]
        whole = [tensor.levels_and_factors(whole=True) for tensor in tensors]
        if len(tensors) > 1 and all(np.array_equal(levels, whole[0][0]) for levels, _ in whole):
            values = self._levels(whole[0][0], codes, (sum(rows for rows, _ in shapes), side))
            pieces, factors = self._split(values, shapes, _Type.FLOAT32), whole
        else:
            factors = [tensor.levels_and_factors() for tensor in tensors]
            parts = zip(factors, self._split(codes, shapes, _Type.INT32), shapes, strict=True)
            pieces = [self._levels(levels, part, shape) for (levels, _), part, shape in parts]
        for tensor, variable, piece, (_, factor) in zip(tensors, variables, pieces, factors, strict=True):
            self._assign(variable, self._values(piece, side, tensor.codes.shape, factor))

    def _digits(self, tensors: Sequence[CodedTensor], digits: int) -> int:
        """Return the codes of all tensors, int32 (n, digits), each tensor's filled up to a row."""
        base = max(tensor.codebook.size for tensor in tensors)
        words = encodings.as_words(tensors, base, digits)
        steps = np.array([base**index for index in range(digits)], np.int32)
        return self._taken_apart(self._constant(words), steps, base, (len(words), digits))

    def _added_planes(self, tensors: Sequence[CodedTensor]) -> int:
        """Return the codes of all tensors, int32 (n, 8), each tensor's filled up to a row."""
        widths = encodings.plane_widths(tensors[0].bits)
        shift, codes = 0, -1
        for width, plane in zip(widths, encodings.as_planes(tensors, widths), strict=True):
            part = self._parts(plane, width, shift)
            codes = part if codes < 0 else self._add("ADD", [codes, part], (len(plane), 8), schema.AddOptionsT())
            shift += width
        return codes

    def _parts(self, plane: Any, width: int, shift: int) -> int:
        """Return the codes' parts in one plane, int32 (n, 8), times 2**shift."""
        if width == 8:
            return self._times(self._widened(plane), plane.shape, shift)
        shape = (len(plane), 8) if width == 1 else (len(plane), width, 8 // width)
        if plane.size < _FEW_BYTES:
            parts = self._byte_parts(self._widened(plane.reshape(*shape[:-1], 1)), width, shift, shape)
        else:
            indices = self._widened(plane.reshape(shape[:-1]))
            parts = self._add("GATHER", [self._table(width, shift), indices], shape)
        return parts if width == 1 else self._reshape(parts, (len(plane), 8), _Type.INT32)

    def _table(self, width: int, shift: int) -> int:
        """Return the table int32 (256, 8/p) of the parts of every byte, times 2**shift."""
        if (width, shift) not in self._tables:
            every = self._widened(np.arange(256, dtype=np.uint8)[:, None])
            self._tables[width, shift] = self._byte_parts(every, width, shift, (256, 8 // width))
        return self._tables[width, shift]

    def _byte_parts(self, whole: int, width: int, shift: int, shape: Sequence[int]) -> int:
        steps = (1 << np.arange(0, 8, width)).astype(np.int32)
        return self._times(self._taken_apart(whole, steps, 1 << width, shape), shape, shift)

    def _taken_apart(self, whole: int, steps: Any, base: int, shape: Sequence[int]) -> int:
        shifted = self._add("FLOOR_DIV", [whole, self._constant(steps)], shape)
        return self._add("FLOOR_MOD", [shifted, self._constant(np.array([base], np.int32))], shape)

    def _widened(self, values: Any) -> int:
        """Return uint8 values as an int32 tensor."""
        cast = schema.CastOptionsT(inDataType=_Type.UINT8, outDataType=_Type.INT32)
        return self._add("CAST", [self._constant(values)], values.shape, cast)

    def _times(self, tensor: int, shape: Sequence[int], shift: int) -> int:
        if not shift:
            return tensor
        factor = self._constant(np.array([1 << shift], np.int32))
        return self._add("MUL", [tensor, factor], shape, schema.MulOptionsT())

    def _split(self, tensor: int, shapes: Sequence[tuple[int, int]], kind: int) -> list[int]:
        if len(shapes) == 1:
            return [tensor]
        pieces = [self._graph.add_tensor(self._subgraph, shape, kind) for shape in shapes]
        rows = np.array([rows for rows, _ in shapes], np.int32)
        inputs = [tensor, self._constant(rows), self._constant(np.array(0, np.int32))]
        options = schema.SplitVOptionsT(numSplits=len(pieces))
        self._subgraph.operators.append(self._graph.operator("SPLIT_V", 1, inputs, pieces, options))
        return pieces

    def _levels(self, levels: Any, codes: int, shape: Sequence[int]) -> int:
        return self._add("GATHER", [self._constant(levels), codes], shape, kind=_Type.FLOAT32)

    def _values(self, levels: int, side: int, shape: Sequence[int], factors: Any) -> int:
        """Return levels (n, side) without what filled the last row, in a shape, times factors."""
        size = int(np.prod(shape))
        if size % side:
            flat = self._reshape(levels, (-(-size // side) * side,), _Type.FLOAT32)
            ends = [self._constant(np.array([end], np.int32)) for end in (0, size)]
            levels = self._add("SLICE", [flat, *ends], (size,), kind=_Type.FLOAT32)
        values = self._reshape(levels, shape, _Type.FLOAT32)
        if factors is None:
            return values
        return self._add("MUL", [values, self._constant(factors)], shape, schema.MulOptionsT(), _Type.FLOAT32)

    def _assign(self, variable: str, values: int) -> None:
        handle = self._graph.add_tensor(self._subgraph, [], _Type.RESOURCE)
        assign = self._graph.operator("ASSIGN_VARIABLE", 1, [handle, values], [])
        self._subgraph.operators += [_variable(self._graph, variable, handle), assign]

    def _reshape(self, tensor: int, shape: Sequence[int], kind: int) -> int:
        options = schema.ReshapeOptionsT(newShape=[int(side) for side in shape])
        return self._add("RESHAPE", [tensor], shape, options, kind)

    def _constant(self, values: Any) -> int:
        return self._graph.add_constant(self._subgraph, values)

    def _add(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None, kind: int = _Type.INT32
    ) -> int:
        output = self._graph.add_tensor(self._subgraph, shape, kind)
        self._subgraph.operators.append(self._graph.operator(name, 1, inputs, [output], options))
        return output


def _variable(graph: Graph, name: str, handle: int) -> Any:
    return graph.operator("VAR_HANDLE", 1, [], [handle], schema.VarHandleOptionsT(container="", sharedName=name))


def _groups(replacements: Sequence[Replacement]) -> Iterator[list[Replacement]]:
    """Give the replacements in groups of one width of code, small tensors together."""
    for bits in sorted({r.tensor.bits for r in replacements}):
        group: list[Replacement] = []
        for replacement in (r for r in replacements if r.tensor.bits == bits):
            if group and sum(r.tensor.codes.size for r in (*group, replacement)) > _GROUP_CODES:
                yield group
                group = []
            group.append(replacement)
        yield group


def _by_subgraph(graph: Graph, constant: Constant) -> Iterable[tuple[Any, list[int]]]:
    """Return the subgraphs that hold a constant, each with the numbers of its tensors."""
    numbers = dict.fromkeys(s for s, _ in constant.places)
    return [(graph.subgraphs[s], [t for other, t in constant.places if other == s]) for s in numbers]


def _make_computed(subgraph: Any, place: int) -> None:
    subgraph.tensors[place].buffer = 0
    subgraph.tensors[place].quantization = None
