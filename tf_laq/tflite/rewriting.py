"""Replacing float32 constants of a TensorFlow Lite file by encoded ones, with the operators that decode them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from tf_laq.tflite import coding, encodings
from tf_laq.tflite.coding import CodedTensor, SparseIntegers, sparse
from tf_laq.tflite.decoder import Decoder, variable_handle
from tf_laq.tflite.encodings import EncodingName
from tf_laq.tflite.graph import Constant, Graph, newest
from tf_laq.tflite.grouping import groups

_Type = schema.TensorType

_INTEGER_TYPES = {"int8": _Type.INT8, "sparse": _Type.INT8, "int4": _Type.INT4, "int2": _Type.INT2}
_DEQUANTIZE_VERSIONS = {"int8": 2, "sparse": 2, "int4": 6, "int2": 7}
_PER_CHANNEL_INT8_VERSION = 5
_FLOAT16_DEQUANTIZE_VERSION = 3


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A constant of the file, what it is as codes, and the encoding to store it in."""

    constant: Constant
    tensor: CodedTensor
    encoding: EncodingName


def rewrite(content: bytes, replacements: Sequence[Replacement], plan: str = "") -> bytes:
    """Return a file with constants stored in other encodings; its outputs stay as they are, to the bit.

    Args:
        content: The file, as it was when its constants were listed.
        replacements: The constants to store otherwise; the rest stays float32.
        plan: Digest of the plan that says so.
    """
    graph = Graph(content)
    runtime = graph.runtime()
    graph.drop_descriptions()
    for replacement in replacements:
        for s, t in replacement.constant.places:
            graph.subgraphs[s].tensors[t].name = replacement.tensor.name
    integers = [r for r in replacements if r.encoding in _INTEGER_TYPES]
    coded = [r for r in replacements if r.encoding == "codebook"]
    for replacement in integers:
        _store_integers(graph, replacement)
    if coded:
        _store_codes(graph, coded)
    halves = [r for r in replacements if r.encoding == "float16"]
    for replacement in halves:
        _store_halves(graph, replacement)
    needed = [encodings.runtime(r.encoding, r.tensor) for r in replacements]
    return graph.to_bytes(newest(runtime, *needed), plan)


def _store_integers(graph: Graph, replacement: Replacement) -> None:
    tensor, name = replacement.tensor, replacement.encoding
    scales = tensor.integer_scales()
    version = _DEQUANTIZE_VERSIONS[name]
    if _INTEGER_TYPES[name] == _Type.INT8 and scales.size > 1:
        version = _PER_CHANNEL_INT8_VERSION
    without_zeros = _without_zeros(tensor) if name == "sparse" else None
    data = coding.as_integers(tensor, name) if without_zeros is None else without_zeros.values
    buffer = graph.add_buffer(data)
    for subgraph, places in _by_subgraph(graph, [replacement.constant]):
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
        whole = stored
        if without_zeros is not None:
            subgraph.tensors[stored].sparsity = _sparsity(without_zeros)
            whole = graph.add_tensor(subgraph, tensor.codes.shape, _Type.INT8, quantization=quantization)
        for place in places:
            _make_computed(subgraph, place)
            subgraph.tensors[place].name = None
            subgraph.operators.insert(0, graph.operator("DEQUANTIZE", version, [whole], [place]))
        if without_zeros is not None:
            subgraph.operators.insert(0, graph.operator("DENSIFY", 1, [stored], [whole]))


def _without_zeros(tensor: CodedTensor) -> SparseIntegers:
    integers = tensor.integers()
    assert integers is not None
    return sparse(integers)


def _sparsity(integers: SparseIntegers) -> Any:
    """Return where integers without zeros are, as the file says it."""
    order = [axis for axis in range(len(integers.shape)) if axis != integers.axis]
    ends_kind, ends = _index_vector(integers.ends)
    places_kind, places = _index_vector(integers.places)
    row = schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR,
        arraySegmentsType=ends_kind,
        arraySegments=ends,
        arrayIndicesType=places_kind,
        arrayIndices=places,
    )
    dense = [
        schema.DimensionMetadataT(format=schema.DimensionType.DENSE, denseSize=integers.shape[axis]) for axis in order
    ]
    return schema.SparsityParametersT(traversalOrder=[*order, integers.axis], dimMetadata=[*dense, row])


def _index_vector(numbers: npt.NDArray[Any]) -> tuple[int, Any]:
    name = {"uint8": "Uint8Vector", "uint16": "Uint16Vector", "int32": "Int32Vector"}[numbers.dtype.name]
    return getattr(schema.SparseIndexVector, name), getattr(schema, f"{name}T")(values=numbers)


def _store_halves(graph: Graph, replacement: Replacement) -> None:
    """Store a tensor in float16, times a power of two; divide its layers' outputs by it, then add their bias.

    Some runtimes compute NaN from float16 weights and a float32 bias in one operator, others run it on slow kernels.
    """
    power = np.float32(encodings.float16_power(replacement.tensor) or 1)
    buffer = graph.add_buffer((replacement.tensor.decode() * power).astype(np.float16))
    for subgraph, places in _by_subgraph(graph, [replacement.constant]):
        stored = graph.add_tensor(
            subgraph, replacement.tensor.codes.shape, _Type.FLOAT16, buffer=buffer, name=replacement.tensor.name
        )
        for place in places:
            _make_computed(subgraph, place)
            subgraph.tensors[place].name = None
            for operator in [op for op in subgraph.operators if place in op.inputs]:
                if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
                    _add_bias_apart(graph, subgraph, operator)
                if power != 1:
                    factor = graph.add_constant(subgraph, np.array([1 / power], np.float32))
                    _then(graph, subgraph, operator, "MUL", factor, schema.MulOptionsT())
            subgraph.operators.insert(0, _widen(graph, stored, place))


def _add_bias_apart(graph: Graph, subgraph: Any, operator: Any) -> None:
    """Give a layer a float16 bias of zeros, and add its own bias afterwards."""
    bias = operator.inputs[2]
    shape = tuple(subgraph.tensors[bias].shape)
    zeros = graph.add_tensor(subgraph, shape, _Type.FLOAT16, buffer=graph.add_buffer(np.zeros(shape, np.float16)))
    widened = graph.add_tensor(subgraph, shape, _Type.FLOAT32)
    operator.inputs = [*operator.inputs[:2], widened, *operator.inputs[3:]]
    _then(graph, subgraph, operator, "ADD", bias, schema.AddOptionsT())
    subgraph.operators.insert(0, _widen(graph, zeros, widened))


def _then(graph: Graph, subgraph: Any, operator: Any, name: str, constant: int, options: Any) -> None:
    """Put an operator with a constant between another one and its activation."""
    output = operator.outputs[0]
    before = graph.add_tensor(subgraph, subgraph.tensors[output].shape, _Type.FLOAT32)
    options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    operator.outputs = [before]
    index = next(i for i, other in enumerate(subgraph.operators) if other is operator)
    subgraph.operators.insert(index + 1, graph.operator(name, 1, [before, constant], [output], options))


def _widen(graph: Graph, stored: int, widened: int) -> Any:
    return graph.operator("DEQUANTIZE", _FLOAT16_DEQUANTIZE_VERSION, [stored], [widened])


def _store_codes(graph: Graph, replacements: Sequence[Replacement]) -> None:
    """Store tensors as codes: a subgraph that runs once decodes them into variables, which the rest reads."""
    main = graph.subgraphs[0]
    number, init = graph.add_subgraph()
    decoder = Decoder(graph, init)
    # A variable is cut into tensors of the main graph, each in one place.
    alone = {i for i, r in enumerate(replacements) if [s for s, _ in r.constant.places] != [0]}
    for families in groups([r.tensor for r in replacements], alone):
        for variable, name in decoder.decode(families):
            _read(graph, name, variable.tensor.codes.shape, [replacements[i].constant for i in variable.members])
    once = graph.operator("CALL_ONCE", 1, [], [], schema.CallOnceOptionsT(initSubgraphIndex=number))
    main.operators.insert(0, once)


def _read(graph: Graph, name: str, shape: Sequence[int], constants: Sequence[Constant]) -> None:
    """Make constants what a variable holds; several are in the main graph, and one after the other in the variable."""
    for subgraph, places in _by_subgraph(graph, constants):
        for place in places:
            _make_computed(subgraph, place)
        handle = graph.add_tensor(subgraph, [], _Type.RESOURCE)
        operators = [variable_handle(graph, name, handle)]
        whole = places if len(constants) == 1 else [graph.add_tensor(subgraph, shape, _Type.FLOAT32)]
        operators += [graph.operator("READ_VARIABLE", 1, [handle], [tensor]) for tensor in whole]
        if len(constants) > 1:
            rows = np.array([len(constant.values) for constant in constants], np.int32)
            sizes, axis = (graph.add_constant(subgraph, values) for values in (rows, np.array(0, np.int32)))
            options = schema.SplitVOptionsT(numSplits=len(rows))
            operators.append(graph.operator("SPLIT_V", 1, [*whole, sizes, axis], places, options))
        subgraph.operators[:0] = operators


def _by_subgraph(graph: Graph, constants: Sequence[Constant]) -> Iterable[tuple[Any, list[int]]]:
    """Return the subgraphs that hold constants, each with their tensors in the constants' order."""
    places = [place for constant in constants for place in constant.places]
    numbers = dict.fromkeys(s for s, _ in places)
    return [(graph.subgraphs[s], [t for other, t in places if other == s]) for s in numbers]


def _make_computed(subgraph: Any, place: int) -> None:
    subgraph.tensors[place].buffer = 0
    subgraph.tensors[place].quantization = None
