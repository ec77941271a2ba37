"""Search, apply and strip on whole models: zoo networks, subclassed models, heads, and input that is wrong."""

import threading

import keras as keras3
import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import adapters
from tf_laq.adapters import kernels
from tf_laq.errors import InputError


@pytest.fixture
def layers(keras):
    return keras.layers


@pytest.fixture
def small(keras):
    """A function that makes a model with one dense layer."""

    def build(name="dense", units=3):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, name=name)])

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keras", "network"),
    [
        *(("tf_keras", network) for network in ("MobileNetV2", "ResNet50V2", "EfficientNetB0", "DenseNet121")),
        *(("keras", network) for network in ("MobileNetV2", "EfficientNetB0")),
    ],
    indirect=["keras"],
)
def test_application_networks_are_quantized_exactly_and_reload(keras, network, tmp_path):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None, input_shape=(64, 64, 3), classes=10)
    plan = laq.uniform(model, "log", 4, norm="inf", progress=False)
    wrapped, baked = laq.apply(model, plan), laq.bake(model, plan)
    batch = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    expected = baked(batch).numpy()
    assert np.array_equal(wrapped(batch), expected)
    wrapped.save(tmp_path / "model.keras")
    assert np.array_equal(keras.models.load_model(tmp_path / "model.keras")(batch), expected)


def test_apply_without_a_plan_searches(small):
    model = small()
    plan = laq.search(model)
    batch = np.ones((2, 4), np.float32)
    assert np.array_equal(laq.apply(model)(batch), laq.bake(model, plan)(batch))


def test_a_subclassed_model_is_baked_on_a_copy_that_can_be_exported(subclassed, keras, tmp_path):
    batch = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    before = np.array(subclassed(batch))
    plan = laq.uniform(subclassed, "linear", 2)
    baked = laq.bake(subclassed, plan)
    layers = dict(kernels.LayerKinds(keras).walk(baked))
    assert len(plan.entries) >= 2
    assert all(np.unique(kernels.values(layers[entry.layer], entry.weight)).size <= 3 for entry in plan.entries)
    assert np.array_equal(subclassed(batch), before)
    assert not np.array_equal(baked(batch), before)
    exported = laq.export_tflite(baked, tmp_path / "model.tflite", plan)
    assert exported.parity.relative_difference <= 1e-5


def test_a_subclassed_model_is_wrapped_as_a_whole_by_keras_3_and_refused_by_keras_2(subclassed, keras, tmp_path):
    batch = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    plan = laq.uniform(subclassed, "linear", 2)
    if keras is tf_keras:
        with pytest.raises(InputError, match=r"Sequential or functional.*(Subclassed|Nested).*laq\.bake"):
            laq.apply(subclassed, plan)
        return
    wrapped = laq.apply(subclassed, plan)
    assert len(wrapped.trainable_weights) == len(subclassed.trainable_weights)
    baked = np.array(laq.bake(subclassed, plan)(batch))
    assert np.array_equal(wrapped(batch), baked)
    assert np.array_equal(laq.strip(wrapped)(batch), baked)
    wrapped.save(tmp_path / "model.keras")
    assert np.array_equal(laq.load_model(tmp_path / "model.keras")(batch), baked)
    wrapped.compile("sgd", "mse")
    wrapped.fit(batch, np.ones((3, 3)), verbose=0)
    assert not np.array_equal(wrapped(batch), baked)


def test_a_subclassed_model_that_cannot_be_copied_is_refused_with_the_cure(keras, layers):
    class NeedsAnArgument(keras.Model):
        def __init__(self, units, lock):
            super().__init__()
            self.dense, self.lock = layers.Dense(units), lock

        def call(self, inputs):
            return self.dense(inputs)

    model = NeedsAnArgument(3, threading.Lock())
    model(np.zeros((1, 4), np.float32))
    with pytest.raises(InputError, match=r"NeedsAnArgument.*get_config"):
        laq.bake(model, laq.uniform(model, "linear", 2))


@pytest.mark.parametrize("end", ["activation", "layer", "functional"])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_softmax_at_the_end_is_taken_off_for_attacks(end, quantized, keras, layers):
    if end == "activation":
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    elif end == "layer":
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Softmax()])
    else:
        inputs = keras.Input((4,))
        model = keras.Model(inputs, layers.Dense(3, activation="softmax")(inputs))
    if quantized:
        model = laq.apply(model, laq.uniform(model, "linear", 3))
    batch = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    logits = adapters.logits_function(model)(batch).numpy()
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3
    exponentials = np.exp(logits)
    assert np.allclose(exponentials / exponentials.sum(axis=1, keepdims=True), model(batch), atol=1e-6)


def test_logits_are_in_inference_mode_and_those_of_the_model(keras, layers):
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.9), layers.Dense(3)])
    batch = np.ones((2, 4), np.float32)
    assert np.array_equal(adapters.logits_function(model)(batch), model(batch, training=False))


def test_a_model_with_several_outputs_has_no_logits(keras, layers):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(InputError, match=r"one output. Received: the outputs 'dense(_\d+)?', 'dense_\d+'. Choose one"):
        adapters.logits_function(model)


def test_a_model_without_kernels_is_refused_with_its_layers(keras, layers):
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="bn")])
    for call in (laq.search, laq.apply, laq.measure):
        with pytest.raises(InputError, match=r"at least one layer with a kernel.*bn \(BatchNormalization\)"):
            call(model)


def test_an_unbuilt_model_is_refused_with_what_to_call(keras, layers):
    with pytest.raises(InputError, match=r"built model.*Call model\.build"):
        laq.search(keras.Sequential([layers.Dense(3)]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named_by_layer(bad, small):
    model = small("head")
    kernel = model.layers[0].kernel.numpy()
    kernel[1, 1] = bad
    model.layers[0].kernel.assign(kernel)
    with pytest.raises(InputError, match=r"layer 'head', weight 'kernel': expected finite weights"):
        laq.search(model)


@pytest.mark.parametrize("other", [("other", 3), ("dense", 5)])
def test_a_plan_for_another_model_is_refused_with_the_weight_that_differs(other, small):
    plan = laq.uniform(small(*other), "linear", 3)
    for quantize in (laq.apply, laq.bake):
        with pytest.raises(InputError, match=r"plan: expected a plan for this model.*at \w+\.kernel.*laq\.search"):
            quantize(small(), plan)


def test_a_quantized_model_is_not_quantized_again(keras, small):
    model = small()
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3))
    nested = keras.Sequential([keras.Input((4,)), wrapped])
    for quantized in (wrapped, nested):
        with pytest.raises(InputError, match=r"expected a float model.*laq\.strip"):
            laq.search(quantized)


def test_a_quantized_subclassed_model_is_not_quantized_again_wherever_it_is():
    class Subclassed(keras3.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras3.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Subclassed()
    model(np.zeros((1, 3), np.float32))
    wrapped, inputs = laq.apply(model), keras3.Input((3,))
    for quantized in (wrapped, keras3.Model(inputs, keras3.layers.ReLU()(wrapped(inputs)))):
        with pytest.raises(InputError, match=r"expected a float model.*laq\.strip"):
            laq.search(quantized)


def test_a_float_model_cannot_be_stripped(small):
    with pytest.raises(InputError, match="a model that laq.apply"):
        laq.strip(small())


@pytest.mark.parametrize("thing", [None, "model.keras", 3, np.ones(3)])
def test_what_is_no_keras_model_is_refused(thing):
    with pytest.raises(InputError, match="model: expected a tf_keras or Keras 3 model. Received: a "):
        laq.search(thing)


def test_float16_and_bfloat16_weights_are_searched(keras, layers):
    for dtype in ("float16", "bfloat16"):
        model = keras.Sequential([keras.Input((4,), dtype=dtype), layers.Dense(3, dtype=dtype)])
        assert laq.search(model).entries[0].bits >= 1


def test_overrides_reach_the_layers_by_path(keras, layers):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="first"), layers.Dense(3, name="second")])
    plan = laq.search(model, overrides={"first": laq.quantizers.get("linear", 8), "second": None})
    assert [(e.quantizer, e.bits) for e in plan.entries] == [("linear", 8), (None, 32)]
    baked = laq.bake(model, plan)
    assert np.array_equal(baked.layers[1].kernel, model.layers[1].kernel)
