from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from tf_laq import quantizers
from tf_laq.tflite.coding import CodedTensor, pack, plane_widths, sparse, sparse_bytes, unpack
from tf_laq.tflite.contents import read_contents
from tf_laq.tflite.encodings import choose, encodings, estimated_bytes
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.grouping import groups
from tf_laq.tflite.rewriting import Replacement, rewrite

SHAPES = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)


def adding(*constants: np.ndarray) -> bytes:
    """Return a file whose outputs are its input, a scalar, plus each constant."""
    count = len(constants)
    tensors = [schema.TensorT(shape=[1], type=schema.TensorType.FLOAT32, name="x")]
    tensors += [schema.TensorT(shape=list(c.shape), buffer=i + 1, name="w") for i, c in enumerate(constants)]
    tensors += [schema.TensorT(shape=list(c.shape), name="y") for c in constants]
    operators = [
        schema.OperatorT(
            inputs=[0, 1 + i],
            outputs=[1 + count + i],
            builtinOptionsType=schema.BuiltinOptions.AddOptions,
            builtinOptions=schema.AddOptionsT(),
        )
        for i in range(count)
    ]
    main = schema.SubGraphT(
        tensors=tensors, inputs=[0], outputs=list(range(1 + count, 1 + 2 * count)), operators=operators
    )
    buffers = [schema.BufferT(), *(schema.BufferT(data=c.reshape(-1).view(np.uint8)) for c in constants)]
    model = schema.ModelT(version=3, operatorCodes=[schema.OperatorCodeT()], subgraphs=[main], buffers=buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def outputs(content: bytes) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for _ in range(2):
        interpreter.reset_all_variables()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros(1, np.float32))
        interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def stored(tensors: list[CodedTensor], encoding: str) -> bytes:
    """Return the file that holds some tensors in one encoding."""
    content = adding(*(tensor.decode() for tensor in tensors))
    constants = {places: c for c in Graph(content).float_constants() for places in c.places}
    return rewrite(content, [Replacement(constants[0, 1 + i], t, encoding) for i, t in enumerate(tensors)])


def same_bits(got: np.ndarray, expected: np.ndarray) -> bool:
    # The addition of 0 in the file turns -0.0 into 0.0.
    return got.tobytes() == (expected + np.float32(0)).tobytes()


def coded(name: str, bits: int, shape: tuple[int, ...], seed: int, factors: bool = False) -> CodedTensor:
    random = np.random.default_rng(seed)
    encoding = quantizers.get(name, bits).encode(random.normal(size=shape).astype(np.float32))
    by = random.normal(size=shape[0]).astype(np.float32) if factors else None
    return CodedTensor.of("w", encoding.codes, encoding.codebook, by)


@given(st.sampled_from(["linear", "log"]), st.integers(1, 8), SHAPES, st.integers(0, 99), st.booleans())
@example("linear", 16, (70, 200), 0, False)
@example("linear", 12, (5, 3), 0, True)
@example("log", 8, (4096, 1, 3), 0, True)
@settings(max_examples=80)
def test_the_file_decodes_to_the_values_bit_for_bit_in_every_encoding(name, bits, shape, seed, factors):
    tensor = coded(name, bits, shape, seed, factors)
    possible = encodings(tensor)
    assert "codebook" in possible
    for encoding in possible:
        content = stored([tensor], encoding)
        assert same_bits(outputs(content)[0], tensor.decode())
        (found,) = read_contents(content).tensors
        assert (found.name, found.shape, found.encoding) == ("w", shape, encoding)
        assert found.bits == {"int2": 2, "int4": 4, "int8": 8, "float16": 16}.get(encoding, found.bits)
        assert encoding != "codebook" or np.log2(tensor.codebook.size) <= found.bits <= tensor.bits
        assert found.factors == (shape[0] if factors and shape[0] > 1 else 0)


@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 200)), st.integers(0, 99), st.floats(-30, 30))
@settings(max_examples=30)
def test_any_codebook_is_stored_bit_for_bit(codes, seed, exponent):
    levels = np.random.default_rng(seed).normal(scale=2.0**exponent, size=201)
    codebook = np.unique(levels.astype(np.float32))
    codes = codes.clip(max=codebook.size - 1)
    tensor = CodedTensor.of("w", codes, codebook)
    assert np.array_equal(tensor.decode(), codebook[codes])
    assert same_bits(outputs(stored([tensor], "codebook"))[0], codebook[codes])
    assert tensor.bits == max(1, int(np.unique(codes).size - 1).bit_length())


def test_tensors_of_many_widths_are_decoded_side_by_side():
    tensors = [coded("linear", b, shape, b) for b in range(1, 9) for shape in ((3, 5), (8, 4, 2), (1, 1))]
    for got, tensor in zip(outputs(stored(tensors, "codebook")), tensors, strict=True):
        assert same_bits(got, tensor.decode())


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 99)), min_size=2, max_size=5),
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=5),
    st.sampled_from([("linear", 1), ("linear", 3), ("linear", 7), ("log", 2), ("log", 5), ("log", 8)]),
)
@settings(max_examples=30)
def test_tensors_that_share_a_variable_are_cut_out_of_it_bit_for_bit(members, shape, setting):
    tensors = [coded(*setting, (rows, *shape), seed, factors) for rows, factors, seed in members]
    content = stored(tensors, "codebook")
    for got, tensor in zip(outputs(content), tensors, strict=True):
        assert same_bits(got, tensor.decode())
    found = sorted(read_contents(content).tensors, key=lambda t: t.shape)
    assert [t.shape for t in found] == sorted(tensor.codes.shape for tensor in tensors)
    for group in groups(tensors):
        for variable in (variable for family in group for variable in family):
            whole = np.concatenate([tensors[number].decode() for number in variable.members])
            assert np.array_equal(variable.tensor.decode(), whole)


def test_equal_shapes_share_variables_and_a_tensor_of_few_codes_does_not_take_a_group_of_its_own():
    kernels = [coded("linear", 3, (16, 3, 3, 16), seed, factors=True) for seed in range(6)]
    few = [coded("linear", 2, (4, 5), 0), coded("linear", 3, (7, 9), 0)]
    (group,) = groups([*kernels, *few])
    assert sorted(variable.members for family in group for variable in family) == [(0, 1, 2, 3, 4, 5), (6,), (7,)]
    assert len(group) == 1
    (group,) = groups(kernels, alone={1, 2})
    assert sorted(variable.members for family in group for variable in family) == [(0, 3, 4, 5), (1,), (2,)]
    one, six = (len(stored(tensors, "codebook")) for tensors in (kernels[:1], kernels))
    codes = -(-kernels[0].codes.size // 11) * 4
    assert (six - one) / 5 < codes + 4 * 16 + 200  # Most of these are the test graph's own operators.


def test_a_factor_of_zero_and_negative_factors_are_stored_exactly():
    tensor = coded("linear", 1, (3, 8), 0)
    factors = np.array([0.0, -0.7, 0.3], np.float32)
    folded = CodedTensor.of("w", tensor.codes, tensor.codebook, factors)
    for encoding in encodings(folded):
        got = outputs(stored([folded], encoding))[0]
        assert same_bits(got, folded.decode())
        np.testing.assert_allclose(got, tensor.decode() * factors[:, None], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "bits", "expected"),
    [
        ("linear", 1, ["int2", "int4", "int8", "sparse", "codebook"]),
        ("linear", 2, ["int2", "int4", "int8", "sparse", "codebook"]),
        ("linear", 4, ["int4", "int8", "sparse", "codebook"]),
        ("linear", 8, ["int8", "sparse", "codebook"]),
        ("linear", 9, ["codebook"]),
        ("log", 4, ["int8", "sparse", "float16", "codebook"]),
        ("log", 5, ["float16", "codebook"]),
    ],
)
def test_the_encodings_of_a_quantizer_are_those_that_hold_its_levels(name, bits, expected):
    assert encodings(coded(name, bits, (100, 100), 0)) == expected


def test_layouts_choose_by_size_speed_and_runtime():
    conv, dense = frozenset({"CONV_2D"}), frozenset({"FULLY_CONNECTED"})
    codes = np.random.default_rng(0).integers(0, 7, (400, 100)).astype(np.uint8)
    tensor = CodedTensor.of("w", codes, np.arange(-3, 4, dtype=np.float32))
    assert choose(tensor, "int8", dense).encoding == "int8"
    assert choose(tensor, "auto", conv).encoding == "int8"
    assert choose(tensor, "auto", dense).encoding == "int4"
    assert choose(tensor, "auto", dense, "2.7").encoding == "int8"
    assert choose(tensor, "packed", conv).encoding == "codebook"
    wide = coded("log", 6, (400, 100), 0)
    refused = choose(wide, "auto", conv)
    assert (refused.encoding, refused.kept) == ("float16", False)
    assert choose(wide, "auto", frozenset({"TRANSPOSE_CONV"})).encoding == "float32"
    assert choose(wide, "auto", conv, "1.14").encoding == "float32"
    assert "not all in -128 to 127 steps" in refused.why
    assert not choose(wide, "packed", conv, "2.5").kept
    assert estimated_bytes("codebook", wide) < 400 * 100


def with_zeros(shape: tuple[int, ...], zeros: float, seed: int = 0, factors: bool = False) -> CodedTensor:
    """Return a tensor of steps from -127 to 127 with a share of zeros."""
    random = np.random.default_rng(seed)
    steps = random.integers(-127, 128, shape) * (random.random(shape) >= zeros)
    by = random.normal(size=shape[0]).astype(np.float32) if factors else None
    return CodedTensor.of(
        "w", (steps + 127).astype(np.uint8), np.arange(-127, 128, dtype=np.float32) * np.float32(0.3), by
    )


@given(
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=9),
    st.sampled_from([0, 0.5, 0.9, 1]),
    st.integers(0, 99),
    st.booleans(),
)
@example((1, 1), 1, 0, False)
@example((7, 300), 0.8, 0, True)
@example((300, 257), 0.97, 0, False)
@example((2, 70000), 0.9, 0, True)
@example((70000, 2), 0.9, 0, False)
@example((2, 3, 2, 3, 4), 0.5, 0, False)
def test_tensors_without_their_zeros_are_restored_bit_for_bit(shape, zeros, seed, factors):
    tensor = with_zeros(shape, zeros, seed, factors)
    content = stored([tensor], "sparse")
    assert same_bits(outputs(content)[0], tensor.decode())
    (found,) = [t for t in read_contents(content).tensors if t.encoding == "sparse"]
    count = int(np.count_nonzero(tensor.decode()))
    assert found.zeros == pytest.approx(1 - count / tensor.codes.size)
    scales = shape[0] if factors else 1
    assert found.bytes == sparse_bytes(shape, count) + 4 * scales
    without = sparse(tensor.integers())
    assert without.values.nbytes + without.places.nbytes + without.ends.nbytes == sparse_bytes(shape, count)
    if count and (scales == 1):
        assert set(found.codebook) == {*np.unique(tensor.decode())}


def test_zeros_are_left_out_where_that_is_smaller_and_the_operator_takes_it():
    conv, dense = frozenset({"CONV_2D"}), frozenset({"FULLY_CONNECTED"})
    empty, half, full = (with_zeros((300, 200), zeros) for zeros in (0.99, 0.6, 0.3))
    for layout in ("int8", "auto", "packed"):
        chosen = choose(empty, layout, conv)
        assert (chosen.encoding, chosen.kept) == ("sparse", True)
        assert "99.0% zeros" in chosen.why
        assert choose(empty, layout, dense | {"DEPTHWISE_CONV_2D"}).encoding == "sparse"
        assert choose(half, layout, conv).encoding == "sparse"
        # Operators that the fast kernels leave to others would compute from weights that nobody unpacks.
        for operator in ("GATHER", "CONV_3D", "WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "TRANSPOSE_CONV"):
            assert choose(empty, layout, dense | {operator}).encoding != "sparse"
    assert choose(full, "int8", conv).encoding == "int8"
    assert choose(empty, "int8", conv, "2.11").encoding == "int8"
    assert choose(with_zeros((20, 10), 1), "int8", conv).encoding == "int8"
    sizes = {name: len(stored([half], name)) - estimated_bytes(name, half) for name in ("int8", "sparse")}
    assert abs(sizes["int8"] - sizes["sparse"]) < 100
    narrow = CodedTensor.of("w", half.codes // 100, np.array([-1, 0, 1], np.float32))
    assert (choose(narrow, "auto", dense).encoding, choose(narrow, "packed", conv).encoding) == ("int2", "codebook")


def test_a_step_that_no_level_shows_is_found_from_the_whole_codebook():
    codebook = np.arange(-3, 4, dtype=np.float32) * np.float32(0.1)
    tensor = CodedTensor.of("w", np.array([[0, 1], [5, 6]]), codebook)
    assert tensor.scale == pytest.approx(0.1)
    assert same_bits(outputs(stored([tensor], "int4"))[0], tensor.decode())


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=2), elements=st.integers(0, 255)), st.sampled_from([1, 2, 4, 8]))
def test_packing_is_undone_by_unpacking(codes, bits):
    codes = codes & np.uint8(2**bits - 1)
    packed = pack(codes, bits)
    assert packed.size == -(-codes.size * bits // 8)
    np.testing.assert_array_equal(unpack(packed, bits)[: codes.size], codes.reshape(-1))


@pytest.mark.parametrize("levels", [3, 7, 13, 15])
def test_few_levels_take_less_than_their_bits_as_digits_of_words(levels):
    codes = np.random.default_rng(0).integers(0, levels, (50, 41)).astype(np.uint8)
    codes[:20] = levels - 1
    tensor = CodedTensor.of("w", codes, np.sort(np.random.default_rng(1).normal(size=levels)).astype(np.float32))
    content = stored([tensor], "codebook")
    assert same_bits(outputs(content)[0], tensor.decode())
    (found,) = read_contents(content).tensors
    assert found.bits == 32 / {3: 20, 7: 11, 13: 8, 15: 8}[levels]


def test_many_codes_are_planes_and_decoded_through_a_table():
    tensor = coded("linear", 3, (1100, 1000), 0)
    content = stored([tensor], "codebook")
    assert same_bits(outputs(content)[0], tensor.decode())
    assert read_contents(content).tensors[0].bits == 3


def test_plane_widths_add_up_to_every_width():
    assert all(sum(plane_widths(bits)) == bits for bits in range(1, 17))
