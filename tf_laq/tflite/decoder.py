"""The subgraph of a TensorFlow Lite file that decodes codes into variables, once, at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_laq.tflite import coding
from tf_laq.tflite.coding import CodedTensor
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.grouping import Family, Variable

_Type = schema.TensorType

_FEW_BYTES = 1 << 17
"""Up to here bytes are taken apart one by one: slower than through a table, which takes half a kilobyte."""


class Decoder:
    """Writes the subgraph that decodes codes.

    Bit planes: each byte of a plane is taken apart into 8/p parts, and the parts of all planes add up to a code. Many
    bytes are taken apart through a table of 256 rows, which the subgraph computes itself. Words: each is taken apart
    into its digits, the codes. The codebook then turns the codes into values.
    """

    def __init__(self, graph: Graph, subgraph: Any) -> None:
        self._graph = graph
        self._subgraph = subgraph
        self._tables: dict[tuple[int, int], int] = {}
        self._variables = 0

    def decode(self, families: Sequence[Family]) -> list[tuple[Variable, str]]:
        """Decode a group of tensors into variables; return these with their names."""
        tensors = [variable.tensor for family in families for variable in family]
        base, count = max(t.codebook.size for t in tensors), sum(t.codes.size for t in tensors)
        digits = coding.digits_of(base, count)
        codes = self._added_planes(tensors) if digits is None else self._digits(tensors, base, digits)
        side = digits or 8
        rows = [[-(-variable.tensor.codes.size // side) for variable in family] for family in families]
        shapes = [(sum(each), side) for each in rows]
        pieces = self._split(codes, shapes, _Type.INT32)
        return [
            named
            for family, each, piece, shape in zip(families, rows, pieces, shapes, strict=True)
            for named in self._decode_family(family, each, piece, shape)
        ]

    def _decode_family(
        self, family: Family, rows: Sequence[int], codes: int, shape: tuple[int, int]
    ) -> list[tuple[Variable, str]]:
        decoded = [variable.tensor.levels_and_factors() for variable in family]
        values = self._levels(decoded[0][0], codes, shape)
        pieces = self._split(values, [(each, shape[1]) for each in rows], _Type.FLOAT32)
        named = []
        for variable, piece, (_, factors) in zip(family, pieces, decoded, strict=True):
            name = f"w{self._variables}"
            self._variables += 1
            self._assign(name, self._values(piece, shape[1], variable.tensor.codes.shape, factors))
            named.append((variable, name))
        return named

    def _digits(self, tensors: Sequence[CodedTensor], base: int, digits: int) -> int:
        """Return the codes of all tensors, int32 (n, digits), each tensor's filled up to a row."""
        words = coding.as_words(tensors, base, digits)
        steps = np.array([base**index for index in range(digits)], np.int32)
        return self._taken_apart(self._constant(words), steps, base, (len(words), digits))

    def _added_planes(self, tensors: Sequence[CodedTensor]) -> int:
        """Return the codes of all tensors, int32 (n, 8), each tensor's filled up to a row."""
        widths = coding.plane_widths(max(tensor.bits for tensor in tensors))
        shift, codes = 0, -1
        for width, plane in zip(widths, coding.as_planes(tensors, widths), strict=True):
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
        self._subgraph.operators += [variable_handle(self._graph, variable, handle), assign]

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


def variable_handle(graph: Graph, name: str, handle: int) -> Any:
    """Return an operator that makes a tensor the handle of the variable of a name."""
    return graph.operator("VAR_HANDLE", 1, [], [handle], schema.VarHandleOptionsT(sharedName=name))
