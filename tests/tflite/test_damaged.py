"""Files that are damaged, by chance or on purpose, end in a result or in one clear error."""

from __future__ import annotations

import contextlib
import gc
import gzip
import hashlib
import inspect
import lzma
import struct

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated
from ai_edge_litert.tools import flatbuffer_utils

import tf_laq as laq
from tf_laq.adapters.signature import signature_of
from tf_laq.cli.main import main
from tf_laq.tflite import TFLiteModel, sealing
from tf_laq.tflite.contents import read_contents
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.packing import pack
from tf_laq.tflite.schema import FIELDS, UNIONS

schema = schema_py_generated
SPECIAL = [0, 1, 2, 4, 8, 255, 1 << 16, 0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF]


@pytest.fixture(scope="module")
def contents():
    """Return files of one network: float32, and at 3 bits and in codebooks in every layout."""
    layers = tf_keras.layers
    network = tf_keras.Sequential(
        [
            *(tf_keras.Input((6, 6, 1)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU()),
            *(layers.DepthwiseConv2D(2), layers.Flatten(), layers.Dense(40), layers.Dense(3)),
        ]
    )
    kernel = network.layers[-2].kernel
    kernel.assign(np.where(np.random.default_rng(0).random(kernel.shape) < 0.9, 0, kernel))
    found = {"float32": pack(network, None, signature_of(network)).contents["int8"][0]}
    for name, bits in (("linear", 3), ("log", 6)):
        plan = laq.uniform(network, name, bits, progress=False)
        packed = pack(laq.bake(network, plan), plan, signature_of(network))
        found |= {f"{layout} {name}": content for layout, (content, _) in packed.contents.items()}
    return found


def resealed(content: bytes, place: int) -> bytes:
    """Return a file with the right checksum at a place: what somebody can do who knows how."""
    blank = content[:place] + sealing.BLANK + content[place + 32 :]
    return sealing.sealed(blank)


def place_of_checksum(content: bytes) -> int:
    model = Graph(content).model
    (entry,) = (entry for entry in model.metadata if entry.name == sealing.NAME.encode())
    return content.index(bytes(bytearray(model.buffers[entry.buffer].data)))


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(content)
    a, b = (int(place) for place in random.integers(0, len(changed) // 4 - 16, 2) * 4)
    word = int.from_bytes(changed[a : a + 4], "little")
    match random.integers(7):
        case 0:
            for place in random.integers(0, len(changed), random.integers(1, 6)):
                changed[place] = random.integers(256)
        case 1:
            changed[a] ^= 1 << random.integers(8)
        case 2:
            changed[a : a + 4] = struct.pack("<I", random.choice(SPECIAL))
        case 3:
            changed[a : a + 4], changed[b : b + 4] = changed[b : b + 4], changed[a : a + 4]
        case 4:
            changed[a + 2 * random.integers(2) :][:2] = struct.pack(
                "<H", random.choice([0, 1, 4, 6, 8, 12, 40, 0xFFFF])
            )
        case 5:
            length = int(random.integers(4, 64))
            changed[a : a + length] = changed[b : b + length]
        case 6:
            changed[a : a + 4] = struct.pack("<I", (word + int(random.choice([-8, -4, -1, 1, 4, 8]))) % 2**32)
    return bytes(changed[: len(content)])


def run(path, **limits):
    """Load a file and run it once; return whether that gave outputs."""
    try:
        model = laq.tflite.load(path, **limits)
        images = [np.zeros((1, *shape)) for shape in model.input_shapes.values()]
        assert model(images if len(images) > 1 else images[0]).shape[0] == 1
    except laq.InputError as error:
        assert "\n" not in str(error)
        return False
    return True


def end_in_a_result_or_an_error(contents, count, runs, seed, path):
    random, names, ran = np.random.default_rng(seed), list(contents), 0
    for number in range(count):
        content = contents[names[number % len(names)]]
        damaged = mutated(content, random)
        if damaged == content:
            continue
        if sealing.NAME.encode() in damaged:
            with pytest.raises(laq.InputError):
                read_contents(damaged)
        damaged = resealed(damaged, place_of_checksum(content))
        try:
            assert str(read_contents(damaged))
        except laq.InputError as error:
            assert "\n" not in str(error)
        else:
            if ran < runs:
                path.write_bytes(damaged)
                ran += 1
                run(path, seconds=10)
    return ran


def test_damaged_files_end_in_a_result_or_an_error(contents, tmp_path):
    assert end_in_a_result_or_an_error(contents, 420, 20, 0, tmp_path / "m.tflite") == 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_thousands_of_damaged_files_end_in_a_result_or_an_error(contents, seed, tmp_path):
    assert end_in_a_result_or_an_error(contents, 500, 500, seed, tmp_path / "m.tflite") > 50


def test_no_byte_of_a_file_changes_unseen(contents):
    random = np.random.default_rng(0)
    for content in contents.values():
        name = content.index(sealing.NAME.encode())
        for place in random.integers(8, len(content), 40):
            damaged = bytearray(content)
            damaged[place] ^= 1 << random.integers(8)
            if not name <= place < name + len(sealing.NAME):  # A file without a checksum is one from elsewhere.
                with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
                    read_contents(bytes(damaged))


def test_a_changed_weight_is_refused_by_the_name_of_the_checksum(contents):
    for content in contents.values():
        model = Graph(content).model
        largest = max((buffer.data for buffer in model.buffers if buffer.data is not None), key=len)
        damaged = bytearray(content)
        damaged[content.index(bytes(bytearray(largest)))] ^= 1
        for read in (read_contents, TFLiteModel):
            with pytest.raises(laq.InputError, match=f"content that does not fit its checksum, {sealing.NAME}"):
                read(bytes(damaged))


def test_the_end_of_a_file_is_never_missed(contents, tmp_path):
    content, path = contents["packed log"], tmp_path / "m.tflite"
    for size in np.random.default_rng(0).integers(0, len(content), 60):
        with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
            read_contents(content[:size])
    path.write_bytes(content + b"more")
    with pytest.raises(laq.InputError, match="checksum"):
        laq.tflite.load(path)


def rewritten(content, change):
    """Return a file with its tables changed, without a checksum."""
    model = Graph(content).model
    model.metadata = None
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def tensor_of(model, condition):
    return next(t for s in model.subgraphs for t in s.tensors if condition(t))


def codebooks(model):
    return [
        subgraph.tensors[operator.inputs[0]]
        for subgraph in model.subgraphs[1:]
        for operator in subgraph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.GATHER
        and subgraph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda table: setattr(table, "shape", [table.shape[0], 1]), id="rows"),
        pytest.param(lambda table: setattr(table, "type", schema.TensorType.INT32), id="integers"),
    ],
)
def test_a_table_that_is_no_codebook_is_not_listed_as_one(contents, change):
    changed = rewritten(contents["packed log"], lambda model: [change(table) for table in codebooks(model)])
    before, after = (
        {tensor.encoding for tensor in read_contents(content).tensors} for content in (contents["packed log"], changed)
    )
    assert "codebook" in before and "codebook" not in after


def set_sparse(change):
    def changed(model):
        sparsity = tensor_of(model, lambda t: t.sparsity is not None).sparsity
        change(
            next(level for level in sparsity.dimMetadata if level.format == schema.DimensionType.SPARSE_CSR), sparsity
        )

    return changed


def swapped(model):
    operators = model.subgraphs[0].operators
    operators[0], operators[-1] = operators[-1], operators[0]


def calling_itself(model):
    operator = next(
        op for s in model.subgraphs for op in s.operators if hasattr(op.builtinOptions, "initSubgraphIndex")
    )
    operator.builtinOptions.initSubgraphIndex = 0


def constant(model):
    return tensor_of(model, lambda t: t.buffer and t.type == schema.TensorType.FLOAT32)


def writing_into_a_constant(model):
    graph = model.subgraphs[0]
    graph.operators[-1].outputs = [next(place for place, tensor in enumerate(graph.tensors) if tensor.buffer)]


def put(part, place, value):
    part.values = np.array(part.values)
    part.values[place] = value


CHANGES = {
    "a shape too large": (lambda m: setattr(constant(m), "shape", [1 << 20, 1 << 20]), "takes more than"),
    "a negative side": (lambda m: setattr(constant(m), "shape", [-1, 3]), r"the shape \(-1, 3\)"),
    "a shape that is not that of its bytes": (lambda m: setattr(constant(m), "shape", [7, 7]), "bytes for the"),
    "a type": (lambda m: setattr(constant(m), "type", 99), "number 99 of 23 types"),
    "a buffer": (lambda m: setattr(constant(m), "buffer", 1 << 30), "buffers"),
    "an external buffer": (lambda m: setattr(constant(m), "externalBuffer", 1), "in another file"),
    "an input": (lambda m: setattr(m.subgraphs[0], "inputs", [999]), "number 999"),
    "an operator's input": (lambda m: setattr(m.subgraphs[0].operators[-1], "inputs", [-2, 0]), "number -2"),
    "an operator's output": (lambda m: setattr(m.subgraphs[0].operators[-1], "outputs", [-1]), "number -1"),
    "an operator": (lambda m: setattr(m.subgraphs[0].operators[-1], "opcodeIndex", 500), "kinds of operators"),
    "the order": (swapped, "order in which they compute"),
    "a constant that is computed": (writing_into_a_constant, "writes into a constant"),
    "a graph that calls itself": (calling_itself, "calls itself"),
    "a signature": (lambda m: setattr(m.signatureDefs[0], "subgraphIndex", 9), "graphs, in a signature"),
    "a tensor of a signature": (lambda m: setattr(m.signatureDefs[0].inputs[0], "tensorIndex", 999), "in a signature"),
    "metadata": (lambda m: setattr(m, "metadata", [schema.MetadataT(name="a", buffer=999)]), "in the metadata"),
    "a version": (lambda m: setattr(m, "version", 7), "version 7"),
    "a place beyond its row": (set_sparse(lambda row, _: put(row.arrayIndices, 0, 255)), "places beyond"),
    "an end beyond the places": (
        set_sparse(lambda row, _: put(row.arraySegments, -1, 250)),
        "places that",
    ),
    "the order of axes": (set_sparse(lambda _, s: setattr(s, "traversalOrder", [0, 0])), "places of"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_numbers_that_lead_nowhere_are_refused_by_what_they_are(contents, name):
    change, reason = CHANGES[name]
    layout = "packed log" if name == "a graph that calls itself" else "int8 linear"
    with pytest.raises(laq.InputError, match=f"content: expected a whole TensorFlow Lite file.*({reason})"):
        read_contents(rewritten(contents[layout], change))


def test_buffers_behind_the_tables_are_read_and_have_to_be_there(contents, tmp_path):
    model = Graph(contents["float32"]).model
    model.metadata = None
    data, stored = b"", [buffer for buffer in model.buffers if buffer.data is not None]
    for buffer in stored:
        buffer.offset, buffer.size = 1 << 20, len(buffer.data)
        data += bytes(bytearray(buffer.data))
        buffer.data = None
    start, offset = len(flatbuffer_utils.convert_object_to_bytearray(model)), 0
    for buffer in stored:
        buffer.offset, offset = start + offset, offset + buffer.size
    tables = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    (tmp_path / "m.tflite").write_bytes(tables + data)
    images = np.random.default_rng(0).random((3, 6, 6, 1), dtype=np.float32)
    expected = TFLiteModel(contents["float32"])(images)
    np.testing.assert_array_equal(laq.tflite.load(tmp_path / "m.tflite")(images), expected)
    with pytest.raises(laq.InputError, match="up to byte"):
        read_contents((tables + data)[:-4])


def test_a_few_parts_that_are_referred_to_again_and_again_stop_at_the_limit(contents):
    def repeated(model):
        subgraph = model.subgraphs[0]
        subgraph.tensors = subgraph.tensors + [subgraph.tensors[0]] * 9_000
        model.subgraphs = [subgraph]

    content = rewritten(contents["float32"], repeated)
    place = content.index(struct.pack("<I", len(Graph(content).subgraphs[0].tensors)))
    with pytest.raises(laq.InputError, match="more tables than the limit"):
        read_contents(content, max_bytes=1 << 24)
    count = struct.pack("<I", 0x3FFFFFFF)
    with pytest.raises(laq.InputError, match="1,073,741,823 numbers of 4 bytes"):
        read_contents(content[:place] + count + content[place + 4 :])


def test_offsets_that_lead_to_themselves_never_lead_on(contents):
    content = rewritten(contents["int8 linear"], lambda model: None)
    root = struct.unpack_from("<I", content)[0]
    for place in (0, root):
        for offset in (0, -4 % 2**32):
            with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
                read_contents(content[:place] + struct.pack("<I", offset) + content[place + 4 :])
    for place in range(root + 4, len(content) // 2, 4):
        with contextlib.suppress(laq.InputError):
            assert read_contents(content[:place] + bytes(4) + content[place + 4 :])


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_decompression_stops_at_the_limit(contents, ending, compress, tmp_path):
    content, path = contents["float32"], tmp_path / f"m.tflite.{ending}"
    path.write_bytes(compress(content + bytes(1 << 23)))
    limit = r"at most 1,048,576 bytes. Received: more. .*max_bytes"
    for read in (laq.tflite.load, laq.tflite.inspect):
        with pytest.raises(laq.InputError, match=limit):
            read(path, max_bytes=1 << 20)
    path.write_bytes(compress(content) + b"more")
    with pytest.raises(laq.InputError, match="a readable TensorFlow Lite file"):
        laq.tflite.load(path)
    path.write_bytes(compress(content))
    assert laq.tflite.inspect(path, max_bytes=len(content)).file_bytes == len(content)
    with pytest.raises(laq.InputError, match="of at most"):
        laq.tflite.inspect(path, max_bytes=len(content) - 1)


def computing(*steps):
    """Return a file from four floats to four floats; each step adds operators to a graph and returns its tensor."""
    main = schema.SubGraphT(tensors=[], inputs=[0], outputs=[], operators=[])
    model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[main], buffers=[schema.BufferT()], metadata=[])
    main.tensors.append(schema.TensorT(shape=[1, 4], name="x"))
    graph = Graph(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    main, tensor = graph.subgraphs[0], 0
    for step in steps:
        tensor = step(graph, main, tensor)
    main.outputs = [tensor]
    return graph.to_bytes("2.3")


def operator(name, kind, *constants, options=None, shape=(1, 4)):
    def step(graph, subgraph, tensor):
        inputs = [tensor, *(graph.add_constant(subgraph, values) for values in constants)]
        output = graph.add_tensor(subgraph, shape, getattr(schema.TensorType, kind))
        subgraph.operators.append(graph.operator(name, 1, inputs, [output], options))
        return output

    return step


def cast(before, after):
    kinds = schema.TensorType
    options = schema.CastOptionsT(inDataType=getattr(kinds, before), outDataType=getattr(kinds, after))
    return operator("CAST", after, options=options)


def endless(graph, subgraph, tensor):
    """Repeat something for as long as the values are below infinity, which they stay."""
    parts = []
    for name, kind in (("LESS", "BOOL"), ("MINIMUM", "FLOAT32")):
        number, part = graph.add_subgraph()
        given = graph.add_tensor(part, [1, 4], schema.TensorType.FLOAT32)
        made = operator(name, kind, np.full((1, 4), 9, np.float32))(graph, part, given)
        if name == "LESS":
            made = operator(
                "REDUCE_ALL", "BOOL", np.array([0, 1], np.int32), options=schema.ReducerOptionsT(), shape=()
            )(graph, part, made)
        part.inputs, part.outputs = [given], [made]
        parts.append(number)
    output = graph.add_tensor(subgraph, [1, 4], schema.TensorType.FLOAT32)
    options = schema.WhileOptionsT(condSubgraphIndex=parts[0], bodySubgraphIndex=parts[1])
    subgraph.operators.append(graph.operator("WHILE", 1, [tensor], [output], options))
    return output


def test_a_file_that_ends_the_runtime_is_refused_when_it_does(tmp_path):
    path = tmp_path / "m.tflite"
    divided = operator("FLOOR_MOD", "INT32", np.full((1, 4), -1, np.int32))
    path.write_bytes(computing(cast("FLOAT32", "INT32"), divided, cast("INT32", "FLOAT32")))
    model = laq.tflite.load(path)
    assert model(np.ones((2, 4))).shape == (2, 4)
    assert "no weight tensors" in str(laq.tflite.inspect(path))
    for _ in range(2):
        # The smallest integer divided by -1 is no int32, and the processor stops.
        with pytest.raises(laq.InputError, match=r"m\.tflite.*its process ended by SIG"):
            model(np.full((1, 4), -(2.0**31)))
        assert model(np.ones((1, 4))).shape == (1, 4)


def test_a_file_that_never_ends_is_refused(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(computing(endless))
    model = laq.tflite.load(path, seconds=0.2)
    assert model(np.full((1, 4), 10)).shape == (1, 4)
    with pytest.raises(laq.InputError, match=r"m\.tflite.*it takes more than 0\.2 seconds"):
        model(np.zeros((1, 4)))


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "m.tflite"
    large = operator("TILE", "INT32", np.array([1 << 15, 1 << 15], np.int32), shape=(1 << 15, 1 << 17))
    path.write_bytes(computing(cast("FLOAT32", "INT32"), large))
    with pytest.raises(laq.InputError, match="takes more than 1,073,741,824 bytes"):
        laq.tflite.load(path)
    sizes = operator("TILE", "INT32", np.array([1 << 15, 1 << 15], np.int32), shape=(1, 4))
    path.write_bytes(computing(cast("FLOAT32", "INT32"), sizes, cast("INT32", "FLOAT32")))
    assert not run(path, max_bytes=1 << 27)


@pytest.mark.parametrize("command", [["inspect"], ["evaluate", "--attacks", "clean", "--examples", "8"]])
def test_the_commands_refuse_a_damaged_file_in_one_line(contents, command, tmp_path, capsys):
    damaged = contents["int8 linear"].replace(sealing.NAME.encode(), b"another_name!")
    (tmp_path / "m.tflite").write_bytes(damaged[:-40] + damaged[-36:] + bytes(4))
    assert main([command[0], str(tmp_path / "m.tflite"), *command[1:]]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert "m.tflite: expected a whole TensorFlow Lite file" in errors
    assert errors.count("\n") == 1


def test_a_file_from_elsewhere_computes_what_it_computes_in_this_process(contents, tmp_path):
    images = np.random.default_rng(0).random((7, 6, 6, 1), dtype=np.float32)
    for content in contents.values():
        (tmp_path / "m.tflite").write_bytes(content)
        model = laq.tflite.load(tmp_path / "m.tflite")
        outputs = model(images)
        np.testing.assert_array_equal(outputs, TFLiteModel(content)(images))
        outputs += 1


def test_the_process_of_a_file_ends_with_the_model(contents, tmp_path):
    (tmp_path / "m.tflite").write_bytes(contents["float32"])
    model = laq.tflite.load(tmp_path / "m.tflite")
    process = model._runtime._process
    assert process.poll() is None
    del model
    gc.collect()
    assert process.poll() is not None


def test_limits_are_numbers_above_zero(contents, tmp_path):
    (tmp_path / "m.tflite").write_bytes(contents["float32"])
    for name, value in (("max_bytes", 0), ("max_bytes", 1e9), ("seconds", -1), ("seconds", "10")):
        with pytest.raises(laq.InputError, match=f"^{name}: expected a .*number"):
            laq.tflite.load(tmp_path / "m.tflite", **{name: value})


class Recorder:
    """Stands for the builder of the schema's generated code, and keeps what it is asked for."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, arguments))


KINDS = {
    **{f"Int{8 * size}": f"i{size}" for size in (1, 2, 4, 8)},
    **{f"Uint{8 * size}": f"u{size}" for size in (1, 2, 4, 8)},
    **{"Float32": "f4", "Bool": "b1"},
}


def test_the_tables_are_those_of_the_installed_schema():
    for name, table in vars(schema).items():
        if not inspect.isclass(table) or not hasattr(schema, f"{name}Start"):
            continue
        recorder = Recorder()
        getattr(schema, f"{name}Start")(recorder)
        fields = FIELDS.get(name, [])
        assert recorder.calls[0][1][0] == len(fields), name
        for function in (f for n, f in vars(schema).items() if n.startswith(f"{name}Add") and callable(f)):
            field = function.__name__.removeprefix(f"{name}Add")
            recorder = Recorder()
            if not hasattr(table, field):
                continue
            function(recorder, 0)
            call, (slot, *_) = recorder.calls[-1]
            known, kind = fields[slot]
            assert known.replace("_", "") == field.lower(), (name, field)
            if not call.startswith("PrependUOffset"):
                assert kind == KINDS[call.removeprefix("Prepend").removesuffix("Slot")], (name, field)
            elif kind.startswith("["):
                recorder = Recorder()
                getattr(schema, f"{name}Start{field}Vector")(recorder, 1)
                size = int(kind[2]) if kind[1].islower() else 4
                assert recorder.calls[0][1][0] == size, (name, field)
                assert hasattr(table, f"{field}AsNumpy") == kind[1].islower(), (name, field)
            else:
                assert kind in ("text", *UNIONS) or hasattr(schema, kind), (name, field)
    for union, tables in UNIONS.items():
        numbers = {number: name for name, number in vars(getattr(schema, union)).items() if isinstance(number, int)}
        assert [numbers[number + 1] for number in range(len(numbers) - 1)] == tables


def test_the_checksum_is_that_of_all_other_bytes(contents):
    for content in contents.values():
        place = place_of_checksum(content)
        digest = hashlib.sha256(content[:place] + sealing.BLANK + content[place + 32 :]).digest()
        assert content[place : place + 32] == digest
