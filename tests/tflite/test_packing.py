"""Whole models in every layout: what the file computes, how large it is, and what is refused."""

import contextlib
import gzip
import itertools
import json
import lzma
import signal
import subprocess
import sys

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

import tf_laq as laq
from tf_laq import quantizers
from tf_laq.adapters import adapter_of
from tf_laq.adapters.signature import signature_of
from tf_laq.quantizers import Encoding
from tf_laq.tflite import ExportError, ExportReport
from tf_laq.tflite.contents import read_contents
from tf_laq.tflite.conversion import convert
from tf_laq.tflite.export import _limit
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.matching import PlannedTensor, match
from tf_laq.tflite.packing import encoded, planned_tensors
from tf_laq.tflite.running import TFLiteModel

layers = tf_keras.layers


def planned_of(baked, plan):
    return planned_tensors(adapter_of(baked).find_weights(baked)[0], plan)


def sequential(shape, *parts):
    return tf_keras.Sequential([layers.Input(shape), *parts])


def functional(shape, graph):
    inputs = layers.Input(shape)
    return tf_keras.Model(inputs, graph(inputs))


def shared(x):
    dense = layers.Dense(6, name="twice")
    return dense(dense(x))


MODELS = {
    "conv, batch norm, dense": lambda: sequential(
        (8, 8, 3),
        layers.Conv2D(5, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(7, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(5),
        layers.BatchNormalization(),
    ),
    "depthwise, separable, transposed": lambda: sequential(
        (6, 6, 3),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.BatchNormalization(),
        layers.SeparableConv2D(5, 3, padding="same"),
        layers.BatchNormalization(),
        layers.Conv2DTranspose(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
    ),
    "grouped and dilated": lambda: sequential(
        (8, 4), layers.Conv1D(6, 3, groups=2, dilation_rate=2, padding="causal"), layers.Flatten(), layers.Dense(3)
    ),
    "embedding, recurrent": lambda: sequential(
        (5,), layers.Embedding(9, 6), layers.LSTM(4, return_sequences=True), layers.GRU(5)
    ),
    "attention": lambda: functional((5, 8), lambda x: layers.Dense(3)(layers.MultiHeadAttention(2, 4)(x, x))),
    "a layer used twice": lambda: functional((6,), shared),
}


def mixed(model):
    """Plan another width and quantizer for every tensor in turn, all of 1 to 8 bits among them."""
    settings = ["linear:3", "log:5", "linear:1", "log:3", "linear:7", "log:8", "linear:2"]
    layers = dict.fromkeys(entry.layer for entry in laq.uniform(model, "linear", 4).entries)
    return laq.uniform(model, "linear", 4, overrides=dict(zip(layers, itertools.cycle(settings), strict=False)))


@pytest.fixture(params=MODELS, ids=lambda name: name.replace(" ", "_"), scope="module")
def converted(request):
    """Every model in turn, quantized, and its float32 file with the matches in it.

    The models have statistics and biases of their own, and some normalisations multiply by less than 0.
    """
    tf_keras.utils.set_random_seed(2)
    model = MODELS[request.param]()
    random = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        layer.set_weights([w if w.ndim > 1 else w + random.uniform(0.1, 0.9, w.shape) for w in weights])
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(layer.gamma * np.where(np.arange(layer.gamma.shape[0]) % 3 == 1, -1.0, 1.0))
    plan = mixed(model)
    baked = laq.bake(model, plan)
    content = convert(baked, signature_of(baked))
    return (
        baked,
        content,
        match(Graph(content).float_constants(), planned_of(baked, plan)),
    )


@pytest.mark.parametrize("layout", ["int8", "packed", "auto"])
def test_every_layout_computes_what_the_model_computes(converted, layout):
    baked, float_content, matches = converted
    content, choices = encoded(float_content, matches, layout, None)
    images = np.random.default_rng(1).random((8, *baked.input_shape[1:]), dtype=np.float32)
    expected = baked(images, training=False).numpy()
    np.testing.assert_allclose(TFLiteModel(content)(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    stored = {tensor.name for tensor in read_contents(content).tensors if tensor.encoding != "float32"}
    assert {m.planned.name for m, choice in zip(matches, choices, strict=True) if choice.kept} <= stored
    assert layout != "packed" or all(choice.kept for choice in choices)


@pytest.fixture(scope="module")
def large():
    """Return a network of 421 thousand weights."""
    tf_keras.utils.set_random_seed(0)
    return sequential(
        (28, 28, 1),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPool2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPool2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10),
    )


@pytest.mark.parametrize("name", ["linear", "log"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 7, 8])
def test_packed_is_within_a_twentieth_of_the_limit_and_auto_is_no_larger_than_int8(large, name, bits):
    plan = laq.uniform(large, name, bits)
    baked = laq.bake(large, plan)
    content = convert(baked, signature_of(baked))
    matches = match(Graph(content).float_constants(), planned_of(baked, plan))
    sizes = {layout: len(encoded(content, matches, layout, None)[0]) for layout in ("int8", "packed", "auto")}
    limit = plan.bytes + 4 * (large.count_params() - plan.weights)
    assert sizes["packed"] <= 1.05 * limit + 120 * len(plan.entries)
    assert sizes["packed"] <= sizes["auto"] <= sizes["int8"]


@pytest.mark.parametrize(("name", "bits"), [("linear", 3), ("log", 4)])
def test_many_small_kernels_share_what_they_can(name, bits):
    tf_keras.utils.set_random_seed(0)
    block = [layer for _ in range(10) for layer in (layers.Conv2D(24, 3, use_bias=False), layers.BatchNormalization())]
    model = sequential((24, 24, 24), *block, layers.GlobalAveragePooling2D(), layers.Dense(10))
    random = np.random.default_rng(0)
    model.set_weights([w if w.ndim > 1 else w + random.uniform(0.1, 0.9, w.shape) for w in model.get_weights()])
    plan = laq.uniform(model, name, bits)
    baked = laq.bake(model, plan)
    content = convert(baked, signature_of(baked))
    constants = Graph(content).float_constants()
    matches = match(constants, planned_of(baked, plan))
    packed, choices = encoded(content, matches, "packed", None)
    assert [choice.encoding for choice in choices].count("codebook") == 10
    assert read_contents(packed).operators["SPLIT_V"]
    assert len(packed) <= 1.05 * _limit(plan, constants, matches) + 120 * len(plan.entries) + 12 * 240
    images = random.random((2, 24, 24, 24), dtype=np.float32)
    expected = baked(images, training=False).numpy()
    np.testing.assert_allclose(TFLiteModel(packed)(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_report_says_how_each_tensor_is_stored_and_what_the_file_needs(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 4, overrides={"logits": None})
    path = tmp_path / "m.tflite"
    report = laq.export_tflite(small_cnn, path, plan, compare_sizes=True)
    assert [t.encoding for t in report.tensors] == ["int8", "int8", "int4", "float32"]
    assert [t.fast_kernels for t in report.tensors] == [True, True, False, True]
    assert report.tensors[2].stored_bytes == 128 * 16 // 2 + 4
    assert report.operators["DEQUANTIZE"] == 6
    assert report.runtime == "2.18"
    assert report.layout_bytes["auto"] == report.file_bytes == path.stat().st_size
    assert report.layout_bytes["packed"] < report.file_bytes < report.layout_bytes["int8"] < report.float_bytes
    assert report.file_bytes < report.other_bytes["Optimize.DEFAULT"] < report.other_bytes["float16"]
    assert ExportReport.from_json(report.to_json()) == report
    assert "Optimize.DEFAULT" in str(report)


def test_wide_log_levels_take_half_of_float32_and_keep_the_fast_kernels(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "log", 5)
    report = laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan, layout="int8", measure=True)
    wide = [t for t in report.tensors if t.encoding == "float16"]
    assert {t.encoding for t in report.tensors} - {"float16"} <= {"int8"}
    assert len(wide) > 1
    assert all(t.fast_kernels and not t.kept and t.stored_bytes == 2 * np.prod(t.shape) for t in wide)
    assert (report.operators["DEQUANTIZE"], report.operators["ADD"], report.runtime) == (3, 1, "1.15")
    assert report.accelerated is report.float_accelerated is True
    baked = laq.bake(small_cnn, plan)
    tensors = {t.name: t for t in laq.tflite.inspect(tmp_path / "m.tflite").tensors}
    name = wide[-1].layer
    np.testing.assert_array_equal(tensors[f"{name}/kernel"].codebook, np.unique(baked.get_layer(name).kernel))
    # Measured figures are positive, printed, and kept.
    assert min(report.performance.milliseconds, report.performance.float_milliseconds) > 0
    assert "latency, ms" in str(report)
    assert ExportReport.from_json(report.to_json()) == report


def without_most_weights(model):
    """Set 19 of 20 kernel weights to zero, and give biases and statistics values of their own."""
    random = np.random.default_rng(0)
    model.set_weights(
        [
            w * (random.random(w.shape) < 0.05) if w.ndim > 1 else w + random.uniform(0.1, 0.9, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def test_kernels_of_mostly_zeros_take_less_than_their_bits_and_keep_the_fast_kernels(tmp_path):
    model = without_most_weights(
        sequential(
            (12, 12, 16),
            layers.Conv2D(48, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, depth_multiplier=4, name="depthwise"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(64, activation="relu", name="dense"),
            layers.Dense(10, name="logits"),
        )
    )
    plan, path = laq.uniform(model, "linear", 4), tmp_path / "m.tflite"
    report = laq.export_tflite(model, path, plan, layout="int8", strict=True)
    assert {t.encoding for t in report.tensors} == {"sparse"}
    assert all(t.stored_bytes < t.limit_bytes for t in report.tensors if t.layer in ("conv", "dense"))
    assert all(t.fast_kernels for t in report.tensors)
    assert (report.accelerated, report.runtime, report.operators["DENSIFY"]) == (True, "2.12", 1)
    assert report.layout_bytes["packed"] <= report.layout_bytes["auto"] <= report.layout_bytes["int8"]
    found = {t.name: t for t in laq.tflite.inspect(path).tensors}
    assert found["conv/kernel"].factors == 48
    assert 0.95 < found["conv/kernel"].zeros < 1
    assert f"{found['dense/kernel'].zeros:.1%}" in str(laq.tflite.inspect(path))
    images = np.random.default_rng(1).random((8, 12, 12, 16), dtype=np.float32)
    logits = laq.tflite.load(path)(images)
    older = laq.export_tflite(model, path, plan, layout="int8", min_runtime="2.11")
    assert {t.encoding for t in older.tensors} == {"int8"}
    assert report.file_bytes < older.file_bytes - 10_000
    np.testing.assert_array_equal(logits, laq.tflite.load(path)(images))


def test_what_the_fast_kernels_do_not_take_keeps_its_zeros(tmp_path):
    model = without_most_weights(
        sequential((5,), layers.Embedding(300, 32, name="words"), layers.LSTM(40, name="memory"), layers.Dense(90))
    )
    for layout in ("int8", "packed"):
        report = laq.export_tflite(model, tmp_path / "m.tflite", laq.uniform(model, "linear", 4), layout=layout)
        assert [t.layer for t in report.tensors if "sparse" in t.encoding] == [model.layers[-1].name]
        assert report.parity.relative_difference < 1e-5


@pytest.mark.parametrize("power", [0, -18])
def test_float16_weights_give_the_outputs_of_float32_weights(power, tmp_path):
    model = sequential((8, 8, 3), layers.Conv2D(6, 3, activation="relu"), layers.Flatten(), layers.Dense(5))
    scale = np.float32(2.0**power)
    model.set_weights([w * (scale if w.ndim == 2 else 1) if w.ndim > 1 else w + 0.3 for w in model.get_weights()])
    plan = laq.uniform(model, "log", 6)
    baked = laq.bake(model, plan)
    content = convert(baked, signature_of(baked))
    matches = match(Graph(content).float_constants(), planned_of(baked, plan))
    stored, choices = encoded(content, matches, "int8", None)
    assert "float16" in {choice.encoding for choice in choices}
    assert read_contents(stored).operators.keys() >= ({"ADD", "MUL"} if power else {"ADD"})
    images = np.random.default_rng(1).random((4, 8, 8, 3), dtype=np.float32)
    got, expected = TFLiteModel(stored)(images), baked(images, training=False).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_packed_convolutions_leave_the_fast_kernels_and_the_report_says_so(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 3)
    report = laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan, layout="packed")
    assert (report.accelerated, report.float_accelerated, report.performance) == (False, True, None)
    assert "fast kernels take: not the whole graph (float32: the whole graph)" in str(report)


def test_a_report_of_before_these_figures_is_still_read(small_cnn, tmp_path):
    report = laq.export_tflite(small_cnn, tmp_path / "m.tflite", "float32")
    content = report.to_dict()
    for name in ("accelerated", "float_accelerated", "performance"):
        del content[name]
    old = ExportReport.from_dict(content)
    assert (old.file_bytes, old.accelerated, old.performance) == (report.file_bytes, None, None)
    assert "it does not say" in str(old)
    del content["limit_bytes"]
    text = json.dumps({"document": ExportReport.document, "version": ExportReport.version, **content})
    with pytest.raises(laq.InputError, match="limit_bytes"):
        ExportReport.from_json(text)


def test_a_path_that_cannot_be_written_is_refused(small_cnn, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(laq.InputError, match=r"file/m\.tflite"):
        laq.export_tflite(small_cnn, tmp_path / "file" / "m.tflite", "float32")


def test_an_older_runtime_gets_other_encodings_or_a_reason(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 4)
    old = laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan, min_runtime="2.7")
    assert {t.encoding for t in old.tensors} == {"int8"}
    assert old.runtime == "1.14"
    log = laq.uniform(small_cnn, "log", 6)
    report = laq.export_tflite(small_cnn, tmp_path / "m.tflite", log, layout="packed", min_runtime="2.5")
    assert next(t.why for t in report.tensors if not t.kept) == "no exact encoding runs in runtime 2.5"


def test_strict_refuses_what_the_layout_cannot_hold(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "log", 8)
    with pytest.raises(ExportError, match=r"layer '\w+', weight 'kernel'.*in layout auto.*tensors\).*packed"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan, strict=True)
    assert not list(tmp_path.iterdir())
    assert laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan, layout="packed", strict=True).kept
    loose = laq.export_tflite(small_cnn, tmp_path / "m.tflite", plan)
    assert "NOT AS PLANNED" in str(loose)


@pytest.mark.parametrize(("ending", "decompress"), [("gz", gzip.decompress), ("xz", lzma.decompress)])
def test_the_compressed_file_holds_the_file_and_is_loaded(small_cnn, tmp_path, ending, decompress):
    path = tmp_path / "m.tflite"
    report = laq.export_tflite(small_cnn, path, laq.uniform(small_cnn, "linear", 3), layout="int8", compress=ending)
    compressed = tmp_path / f"m.tflite.{ending}"
    assert decompress(compressed.read_bytes()) == path.read_bytes()
    assert (report.compressed, report.compressed_bytes) == (str(compressed), compressed.stat().st_size)
    images = np.random.default_rng(0).random((2, 8, 8, 1), dtype=np.float32)
    np.testing.assert_array_equal(laq.tflite.load(compressed)(images), laq.tflite.load(path)(images))
    compressed.write_bytes(compressed.read_bytes()[:-200])
    with pytest.raises(laq.InputError, match=r"m.tflite.*readable TensorFlow Lite file"):
        laq.tflite.load(compressed)


@pytest.mark.parametrize("setting", [{"layout": "tiny"}, {"compress": "zip"}, {"min_runtime": "new"}])
def test_unknown_settings_are_refused_by_name(small_cnn, tmp_path, setting):
    with pytest.raises(laq.InputError, match=f"^{next(iter(setting))}: expected"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite", **setting)


def test_a_model_with_two_outputs_is_refused(tmp_path):
    model = functional((4,), lambda x: [layers.Dense(3)(x), layers.Dense(2)(x)])
    with pytest.raises(laq.InputError, match="one output"):
        laq.export_tflite(model, tmp_path / "m.tflite", "float32")


def test_inspecting_a_file_shows_tensors_levels_and_operators(small_cnn, tmp_path):
    path = tmp_path / "m.tflite"
    plan = laq.uniform(small_cnn, "linear", 3, overrides={"dense1": quantizers.Log(6), "logits": None})
    laq.export_tflite(small_cnn, path, plan, layout="packed", compress="gz")
    found = laq.tflite.inspect(path)
    tensors = {t.name: t for t in found.tensors}
    baked = laq.bake(small_cnn, plan)
    assert tensors["dense1/kernel"].encoding == "codebook"
    for name in ("conv1", "conv2", "dense1"):
        np.testing.assert_array_equal(tensors[f"{name}/kernel"].codebook, np.unique(baked.get_layer(name).kernel))
    assert "float32" in {t.encoding for t in found.tensors}
    assert found.operators["CALL_ONCE"] == 1
    assert found.file_bytes == path.stat().st_size
    assert "dense1/kernel" in str(found)
    assert "oldest runtime: TensorFlow Lite 2.18" in str(found)
    assert str(laq.tflite.inspect(f"{path}.gz")) == str(found)
    assert f"plan: SHA-256 {plan.digest}" in str(found)


def test_a_file_names_the_plan_that_it_was_made_by(small_cnn, tmp_path):
    path, plan = tmp_path / "m.tflite", laq.uniform(small_cnn, "linear", 3)
    known = laq.tflite.with_file_bytes(small_cnn, plan)
    assert known.checksum != plan.checksum
    assert known.digest == plan.digest != laq.uniform(small_cnn, "log", 3).digest
    for given in (plan, known):
        for layout in ("int8", "packed"):
            assert laq.export_tflite(small_cnn, path, given, layout=layout).file_bytes == known.file_bytes[layout]
            assert laq.tflite.inspect(path).plan == plan.digest
    laq.export_tflite(small_cnn, path, "float32")
    assert laq.tflite.inspect(path).plan == ""


@pytest.mark.parametrize(
    "content", [b"", b"\x1c\x00\x00\x00TFL3", b"\x1c\x00\x00\x00TFL3" + bytes(60), b"PK\x03\x04 zip"]
)
def test_inspecting_a_damaged_or_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
        laq.tflite.inspect(tmp_path / "m.tflite")


def test_a_planned_weight_that_the_model_does_not_use_is_an_error(tmp_path):
    @tf_keras.utils.register_keras_serializable("tf_laq_tests")
    class Idle(layers.Dense):
        def call(self, inputs):
            return inputs * 2.0

    model = sequential((6,), layers.Dense(4), Idle(4, name="idle"), layers.Dense(3))
    plan = laq.uniform(model, "linear", 4)
    with pytest.raises(laq.InputError, match=r"layer 'idle', weight 'kernel': expected.*overrides=.*'idle'"):
        laq.export_tflite(model, tmp_path / "m.tflite", plan)
    for layer in (model.layers[0], model.get_layer("idle"), model.layers[-1]):
        layer.kernel.assign(quantizers.get("linear", 4).quantize(layer.kernel))
    with pytest.raises(ExportError, match=r"layer 'idle', weight 'kernel'.*Received: none.*overrides=.*'idle'"):
        laq.export_tflite(model, tmp_path / "m.tflite", plan)
    plan = laq.uniform(model, "linear", 4, overrides={"idle": "float32"})
    assert laq.export_tflite(model, tmp_path / "m.tflite", plan).parity.holds


def file_with(values: np.ndarray) -> bytes:
    tensors = [schema.TensorT(shape=[1], name="x"), schema.TensorT(shape=list(values.shape), buffer=1, name="w")]
    main = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[0], operators=[])
    buffers = [schema.BufferT(), schema.BufferT(data=np.ascontiguousarray(values).reshape(-1).view(np.uint8))]
    model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[main], buffers=buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def planned(shape, seed=0, name="linear", bits=4):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return PlannedTensor("layer", "kernel", quantizers.get(name, bits).encode(values))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w,
        lambda w: w.transpose(3, 0, 1, 2),
        lambda w: w.reshape(-1, w.shape[-1]).T,
        lambda w: w * np.float32(0.3535),
        lambda w: w.transpose(3, 0, 1, 2) * np.linspace(-1.0, 2.0, 6, dtype=np.float32)[:, None, None, None],
        lambda w: w.reshape(1, 3, 3, -1) * np.linspace(0.1, 2.0, 30, dtype=np.float32),
    ],
    ids=["plain", "transposed", "matrix", "scaled", "a factor a channel", "a factor a channel pair"],
)
def test_a_changed_constant_is_matched_and_decodes_to_itself(change):
    tensor = planned((3, 3, 5, 6))
    constant = change(tensor.encoding.decode())
    (found,) = match(Graph(file_with(constant)).float_constants(), [tensor])
    np.testing.assert_allclose(found.tensor.decode(), constant, rtol=5e-7)
    assert (found.tensor.factors is None) == np.array_equal(np.unique(constant), np.unique(tensor.encoding.decode()))


def test_values_that_are_no_levels_are_not_matched():
    tensor = planned((5, 6))
    moved = tensor.encoding.decode().copy()
    moved[2, 3] += 1e-3
    with pytest.raises(ExportError, match="layer 'layer', weight 'kernel'.*Received: none"):
        match(Graph(file_with(moved)).float_constants(), [tensor])


def test_a_tensor_of_which_only_a_part_is_there_is_an_error():
    tensor = planned((8, 12))
    with pytest.raises(ExportError, match="only 1 of 4 pieces"):
        match(Graph(file_with(tensor.encoding.decode()[:, :3].T)).float_constants(), [tensor])


def test_a_codebook_without_any_order_is_matched_too():
    codes = np.random.default_rng(0).integers(0, 5, (6, 7)).astype(np.uint8)
    tensor = PlannedTensor("layer", "kernel", Encoding(codes, np.array([-0.9, -0.2, 0.0, 0.31, 0.7], np.float32)))
    (found,) = match(Graph(file_with(tensor.encoding.decode().T)).float_constants(), [tensor])
    assert np.array_equal(found.tensor.decode(), tensor.encoding.decode().T)
    assert found.tensor.bits == 3


def test_a_killed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    script = f"""
import os, signal, numpy as np, tf_laq as laq
from tf_laq import models
from tf_laq._internal import files
from pathlib import Path
write = Path.write_bytes
def killed(self, content):
    write(self, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = killed
network = models.build("digits_cnn", width=2)
laq.export_tflite(network, {str(path)!r}, laq.uniform(network, "linear", 4))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_inspecting_what_is_left_of_a_file_is_refused_and_damage_never_ends_otherwise(small_cnn, tmp_path):
    laq.export_tflite(small_cnn, tmp_path / "m.tflite", laq.uniform(small_cnn, "log", 6), layout="packed")
    content = (tmp_path / "m.tflite").read_bytes()
    for share in np.linspace(0, 0.95, 12):
        with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
            read_contents(content[: int(share * len(content))])
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(8, len(content), 3):
            damaged[place] = random.integers(256)
        with contextlib.suppress(laq.InputError):
            assert read_contents(bytes(damaged)).file_bytes == len(content)
