"""Models of other inputs than one float image: what their files take, and what they are compared with."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras
from ai_edge_litert.interpreter import Interpreter

import tf_laq as laq
from tf_laq.adapters.signature import signature_of
from tf_laq.tflite import ExportError
from tf_laq.tflite.probing import comparison_inputs


@pytest.fixture(params=[tf_keras, keras], ids=["tf_keras", "keras"])
def k(request):
    return request.param


def embedded(k, name, vocabulary, mask_zero=False, **options):
    tokens = k.Input((7,), name=name, **options)
    vectors = k.layers.Embedding(vocabulary, 4, mask_zero=mask_zero)(tokens)
    return tokens, k.layers.GlobalAveragePooling1D()(vectors)


def one_token_input(k, **options):
    tokens, pooled = embedded(k, "tokens", 50, mask_zero=True, **options)
    return k.Model(tokens, k.layers.Dense(3)(pooled))


def two_vocabularies(k):
    (words, a), (tags, b) = embedded(k, "words", 60, dtype="int32"), embedded(k, "tags", 5, dtype="int64")
    return k.Model([words, tags], k.layers.Dense(3)(k.layers.Concatenate()([a, b])))


def nested_tokens(k):
    inner = one_token_input(k, dtype="int32")
    tokens = k.Input((14,), dtype="int32", name="tokens")
    halves = [k.layers.Cropping1D(crop)(k.layers.Reshape((14, 1))(tokens)) for crop in ((0, 7), (7, 0))]
    return k.Model(tokens, k.layers.Add()([inner(k.layers.Reshape((7,))(half)) for half in halves]))


def bytes_of_images(k):
    images = k.Input((8, 8, 1), dtype="uint8", name="pixels")
    x = k.layers.Conv2D(4, 3)(k.layers.Rescaling(1 / 255)(images))
    return k.Model(images, k.layers.Dense(3)(k.layers.Flatten()(x)))


def floats_and_tokens(k, as_dict=False):
    (tokens, pooled), age = embedded(k, "words", 30, dtype="int32"), k.Input((2,), name="age")
    outputs = k.layers.Dense(3)(k.layers.Concatenate()([pooled, age]))
    return k.Model({"words": tokens, "age": age} if as_dict else [tokens, age], outputs)


def integers(k):
    counts = k.Input((4,), dtype="int32", name="counts")
    return k.Model(counts, k.layers.Dense(3)(k.layers.Rescaling(0.5)(counts)))


def categories(k):
    kind = k.Input((1,), dtype="int32", name="kind")
    encoded = k.layers.CategoryEncoding(6, output_mode="one_hot")(kind)
    return k.Model(kind, k.layers.Dense(3)(encoded))


def a_fixed_batch(k):
    images = k.Input(batch_shape=(5, 4))
    return k.Model(images, k.layers.Dense(3)(images))


def stateful(k, layer="GRU", **options):
    inputs = k.Input(batch_shape=(1, 6, 5))
    return k.Model(inputs, k.layers.Dense(2)(getattr(k.layers, layer)(6, stateful=True, **options)(inputs)))


MODELS = {
    "tokens with a mask": lambda k: one_token_input(k, dtype="int32"),
    "tokens in floats": one_token_input,
    "two vocabularies": two_vocabularies,
    "nested tokens": nested_tokens,
    "bytes": bytes_of_images,
    "floats and tokens": floats_and_tokens,
    "a dict": lambda k: floats_and_tokens(k, as_dict=True),
    "integers": integers,
    "a fixed batch": a_fixed_batch,
    "GRU with state": stateful,
    "LSTM with state": lambda k: stateful(k, "LSTM"),
    "two layers with state": lambda k: k.Sequential(
        [
            k.Input(batch_shape=(1, 6, 5)),
            k.layers.SimpleRNN(4, stateful=True, return_sequences=True),
            k.layers.LSTM(4, stateful=True),
        ]
    ),
}


def model_outputs(model, values):
    """The outputs of a model image by image, each from the initial state."""
    signature, count, found = signature_of(model), len(values[0]), []
    batch = signature.batch or count
    for start in range(0, count - batch + 1, batch):
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                (getattr(layer, "reset_state", None) or layer.reset_states)()
        found.append(np.asarray(model(signature.packed([v[start : start + batch] for v in values]))))
    return np.concatenate(found)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_computes_what_the_model_given_computes(k, name, tmp_path):
    model = MODELS[name](k)
    plan = laq.uniform(model, "linear", 4, progress=False)
    report = laq.export_tflite(model, tmp_path / "m.tflite", plan)
    assert report.parity.holds
    assert report.parity.max_output > 0
    baked = laq.bake(model, plan)
    assert laq.export_tflite(baked, tmp_path / "m.tflite").parity == report.parity
    values = comparison_inputs(signature_of(model), None)
    run, expected = laq.tflite.load(tmp_path / "m.tflite"), model_outputs(baked, values)
    outputs = run(values if len(values) > 1 else values[0])[: len(expected)]
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(run(dict(zip(run.input_shapes, values, strict=True)))[: len(expected)], outputs)


def test_random_examples_are_what_the_inputs_take(k):
    words, tags = comparison_inputs(signature_of(two_vocabularies(k)), None)
    assert (words.dtype, tags.dtype) == (np.int32, np.int64)
    assert (words.min(), tags.min()) == (0, 0)
    assert words.max() in range(50, 60)
    assert tags.max() == 4
    assert np.mean(words == 0) < 0.1
    (pixels,) = comparison_inputs(signature_of(bytes_of_images(k)), None)
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.uint8, 0, 255)
    (floats,) = comparison_inputs(signature_of(one_token_input(k)), None)
    assert floats.dtype == np.float32
    assert floats.max() in range(40, 50)
    assert comparison_inputs(signature_of(nested_tokens(k)), None)[0].max() in range(40, 50)
    assert comparison_inputs(signature_of(categories(k)), None)[0].max() == 5
    (images,) = comparison_inputs(signature_of(a_fixed_batch(k)), None)
    np.testing.assert_array_equal(images, np.random.default_rng(0).random((32, 4), dtype=np.float32))


@pytest.mark.parametrize("as_dict", [False, True])
def test_names_and_dtypes_of_inputs_are_those_of_the_model(k, as_dict, tmp_path):
    laq.export_tflite(floats_and_tokens(k, as_dict), tmp_path / "m.tflite", "float32")
    details = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner().get_input_details()
    assert {name: each["dtype"] for name, each in details.items()} == {"words": np.int32, "age": np.float32}
    laq.export_tflite(bytes_of_images(k), tmp_path / "m.tflite", "float32")
    details = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner().get_input_details()
    assert {name: each["dtype"] for name, each in details.items()} == {"pixels": np.uint8}


def test_examples_may_be_given_for_several_inputs(k, tmp_path):
    model, random = floats_and_tokens(k), np.random.default_rng(2)
    words, age = random.integers(0, 30, (20, 7)), random.random((20, 2))
    for images in ([words, age], {"age": age, "words": words}):
        assert laq.export_tflite(model, tmp_path / "m.tflite", "float32", images=images).parity.images == 20
    for images, reason in (
        ([words], "a list or dict of 2 arrays, for the inputs words, age"),
        ({"words": words}, "the inputs words, age"),
        ([words, age[:17]], "for input 'age', as many as for the others"),
        ([words + 0.5, age], "values that int32 has"),
    ):
        with pytest.raises(laq.InputError, match=f"images: expected .*{reason}"):
            laq.export_tflite(model, tmp_path / "m.tflite", "float32", images=images)


def test_a_file_refuses_what_its_inputs_do_not_take(k, tmp_path):
    laq.export_tflite(bytes_of_images(k), tmp_path / "m.tflite", "float32")
    run = laq.tflite.load(tmp_path / "m.tflite")
    assert run(np.full((2, 8, 8, 1), 255.0)).shape == (2, 3)
    for wrong in (0.5, 256, -1):
        with pytest.raises(laq.InputError, match="values that uint8 has"):
            run(np.full((2, 8, 8, 1), wrong))


def test_examples_outside_of_what_layers_take_are_refused_with_the_reason(k, tmp_path):
    with pytest.raises(laq.InputError, match=r"a model that runs on 20 examples of 'tokens' \(int32, 77 to 77\)"):
        images = np.full((20, 7), 77, np.int32)
        laq.export_tflite(one_token_input(k, dtype="int32"), tmp_path / "m.tflite", "float32", images=images)


@pytest.mark.parametrize("kind", ["StringLookup", "TextVectorization", "Hashing"])
def test_strings_are_refused_with_the_layer_that_reads_them(k, kind, tmp_path):
    options = {"num_bins": 4} if kind == "Hashing" else {}
    layer = getattr(k.layers, kind)(**options, name="words_to_numbers")
    if kind != "Hashing":
        layer.adapt(np.array(["red", "green", "blue"]))
    inputs = k.Input((1,), dtype="string", name="word")
    x = k.layers.Flatten()(k.layers.Embedding(9, 2)(layer(inputs)))
    model = k.Model(inputs, k.layers.Dense(3)(x) if kind != "TextVectorization" else x)
    match = rf"input 'word'.*strings, read by 'words_to_numbers' \({kind}\).*after the lookup"
    with pytest.raises(laq.InputError, match=match):
        laq.export_tflite(model, tmp_path / "m.tflite", "float32")


def test_several_outputs_are_refused_by_name(k, tmp_path):
    inputs = k.Input((4,))
    model = k.Model(inputs, [k.layers.Dense(3, name="kind")(inputs), k.layers.Dense(2, name="size")(inputs)])
    with pytest.raises(laq.InputError, match="one output, the logits. Received: 2 outputs: 'kind', 'size'"):
        laq.export_tflite(model, tmp_path / "m.tflite", "float32")


def test_outputs_that_are_not_numbers_are_counted(k, tmp_path):
    model = integers(k)
    model.layers[-1].bias.assign(np.array([0, np.nan, np.inf], np.float32))
    match = r"32 examples of 'counts' \(int32, 0 to 9\).*32 NaN and 32 infinite outputs of 96"
    with pytest.raises(ExportError, match=match):
        laq.export_tflite(model, tmp_path / "m.tflite", "float32")


def in_precision(k, name, build):
    set_policy = k.config.set_dtype_policy if k is keras else k.mixed_precision.set_global_policy
    set_policy(name)
    try:
        return build()
    finally:
        set_policy("float32")


def dense_net(k):
    return k.Sequential([k.Input((8,)), k.layers.Dense(8, activation="relu"), k.layers.Dense(3)])


def conv_net(k):
    L = k.layers
    return k.Sequential(
        [k.Input((8, 8, 1)), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(3)]
    )


def nested_net(k):
    inputs = k.Input((8, 8, 1))
    return k.Model(inputs, k.layers.Dense(3, dtype="float32")(conv_net(k)(inputs)))


def recurrent_net(k):
    return k.Sequential([k.Input((6, 5)), k.layers.Bidirectional(k.layers.LSTM(4)), k.layers.Dense(3)])


@pytest.mark.parametrize(
    ("policy", "build"),
    [
        ("mixed_float16", dense_net),
        ("mixed_bfloat16", conv_net),
        ("mixed_float16", nested_net),
        ("mixed_bfloat16", recurrent_net),
    ],
)
def test_a_model_of_mixed_precision_becomes_the_float32_network_of_its_weights(k, policy, build, tmp_path):
    model, twin = in_precision(k, policy, lambda: build(k)), build(k)
    plan = laq.uniform(model, "linear", 4, progress=False)
    before = [layer.compute_dtype for layer in model._flatten_layers()]
    forms = [laq.export_tflite(model, tmp_path / "m.tflite", plan)]
    assert [layer.compute_dtype for layer in model._flatten_layers()] == before
    forms += [laq.export_tflite(laq.bake(model, plan), tmp_path / "m.tflite")]
    forms += [laq.export_tflite(laq.apply(model, plan), tmp_path / "m.tflite")]
    random = np.random.default_rng(3).random((20, *model.input_shape[1:]), dtype=np.float32)
    twin.set_weights(laq.bake(model, plan).get_weights())
    expected = np.asarray(twin(random))
    outputs = laq.tflite.load(tmp_path / "m.tflite")(random)
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * np.abs(expected).max())
    for report in forms:
        assert report.parity.holds
        assert 1e-5 < report.own_parity.relative_difference < 0.25
        assert "in the model's own precision" in str(report)
        assert laq.tflite.ExportReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(("policy", "build"), [("float16", conv_net), ("bfloat16", dense_net)])
def test_weights_of_another_precision_become_float32_or_are_refused_with_the_cure(k, policy, build, tmp_path):
    model = in_precision(k, policy, lambda: build(k))
    if k is tf_keras:
        with pytest.raises(laq.InputError, match=rf"layer '.*the dtype policy {policy}\. Build .*set_weights"):
            laq.export_tflite(model, tmp_path / "m.tflite", "float32")
    else:
        assert laq.export_tflite(model, tmp_path / "m.tflite", "float32").own_parity.holds


def test_the_state_of_the_model_given_stays_as_it_was(k, tmp_path):
    model = stateful(k)
    before = np.asarray(model(np.ones((1, 6, 5), np.float32)))
    laq.export_tflite(model, tmp_path / "m.tflite", "float32")
    after = np.asarray(model(np.ones((1, 6, 5), np.float32)))
    assert np.abs(after - before).max() > 0
    run = laq.tflite.load(tmp_path / "m.tflite")
    np.testing.assert_array_equal(run(np.ones((3, 6, 5))), run(np.ones((3, 6, 5)))[[0, 0, 0]])
    np.testing.assert_allclose(run(np.ones((1, 6, 5))), before, atol=1e-5)


def test_the_file_computes_what_the_object_given_computes(k, tmp_path):
    @k.utils.register_keras_serializable("tf_laq_tests_wrong_copy")
    class Scaled(k.layers.Dense):
        """Scales by a number that its configuration has not."""

        factor = 1.0

        def call(self, inputs):
            return super().call(inputs) * self.factor

    model = k.Sequential([k.Input((4,)), Scaled(3, name="scaled")])
    wrapped = laq.apply(model, laq.uniform(model, "linear", 4, progress=False))
    next(layer for layer in wrapped._flatten_layers() if layer.name == "scaled").factor = 2.0
    laq.export_tflite(wrapped, tmp_path / "m.tflite")
    run = laq.tflite.load(tmp_path / "m.tflite")
    np.testing.assert_allclose(run(np.eye(4)), np.asarray(wrapped(np.eye(4, dtype=np.float32))), atol=1e-5)
