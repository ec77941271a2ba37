from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import models
from tf_laq.adapters import adapter_of, keras_module
from tf_laq.errors import InputError
from tf_laq.training import correct_biases, match_statistics


def network(version: int, nested: bool = False):
    """Return a network with normalisations, in a nested model too, and with biases before and beside them."""
    keras = keras_module(version)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="normalised")(inputs)
    x = shortcut = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    x = layers.SeparableConv2D(4, 3, padding="same", use_bias=False, name="separable")(x)
    x = layers.ReLU(name="relu2")(layers.BatchNormalization(name="norm2", epsilon=1e-5, center=False)(x))
    x = layers.Conv2D(4, 3, padding="same", name="added")(x)
    x = layers.Add(name="add")([x, shortcut])
    tail = [
        layers.Conv2D(3, 3, activation="relu", name="active"),
        layers.BatchNormalization(name="norm3", scale=False),
        layers.Flatten(name="flatten"),
        layers.Dense(5, use_bias=False, name="dense"),
        layers.BatchNormalization(name="norm4"),
        layers.Dense(3, name="logits"),
    ]
    if nested:
        tail = [keras.Sequential([keras.Input(x.shape[1:]), *tail], name="tail")]
    for layer in tail:
        x = layer(x)
    model = keras.Model(inputs, x)
    generator = np.random.default_rng(1)
    model.set_weights([generator.uniform(-0.2 if w.ndim > 1 else 0.5, 0.8, w.shape) for w in model.get_weights()])
    return model


def quantized(model):
    return laq.bake(model, laq.uniform(model, "linear", 3, progress=False))


def layer_of(model, name: str):
    return next(layer for layer in adapter_of(model).layers(model) if layer.name == name)


def outputs_of(model, name: str, images: np.ndarray) -> np.ndarray:
    """Return what a layer of a model without nested ones gives."""
    keras = keras_module(2 if type(model).__module__.startswith("tf_keras") else 3)
    found = np.asarray(keras.Model(model.inputs[0], model.get_layer(name).output)(images), np.float64)
    return found.reshape(-1, found.shape[-1])


@pytest.mark.parametrize("version", [2, 3])
def test_every_normalised_output_has_the_moments_of_the_float_twin(images, version: int) -> None:
    model = network(version)
    before = quantized(model)
    weights = [weight.copy() for weight in before.get_weights()]
    matched = match_statistics(before, model, images)
    for name in ("norm1", "norm2", "norm3", "norm4"):
        wanted, found = outputs_of(model, name, images), outputs_of(matched, name, images)
        np.testing.assert_allclose(found.mean(0), wanted.mean(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.std(0), wanted.std(0), rtol=1e-4, atol=1e-4)
        assert np.abs(outputs_of(before, name, images).mean(0) - wanted.mean(0)).max() > 1e-2
    for name in ("added", "logits"):
        wanted, found = outputs_of(model, name, images), outputs_of(matched, name, images)
        np.testing.assert_allclose(found.mean(0), wanted.mean(0), rtol=1e-4, atol=1e-4)
    for kept, now in zip(weights, before.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)
    for kept, now in zip(weights, matched.get_weights(), strict=True):
        assert kept.ndim == 1 or np.array_equal(kept, now)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("batch_size", [50, 16])
def test_a_float_network_stays_as_it_is_to_the_last_bit(images, version: int, batch_size: int) -> None:
    model = network(version, nested=True)
    matched = match_statistics(model, model, images, batch_size=batch_size)
    assert [weight.tobytes() for weight in matched.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_a_kernel_twice_as_large_doubles_the_running_statistics() -> None:
    import tf_keras

    layers = tf_keras.layers
    parts = [layers.Dense(1, use_bias=False), layers.BatchNormalization(epsilon=0.125)]
    model = tf_keras.Sequential([tf_keras.Input((1, 1, 1)), *parts])
    model.set_weights([np.ones((1, 1)), *(np.array([value]) for value in (3.0, 5.0, 0.25, 1.0))])
    larger = tf_keras.models.clone_model(model)
    larger.set_weights([np.full((1, 1), 2.0), *model.get_weights()[1:]])
    images = np.array([0.0, 1.0, 0.5], np.float32).reshape(3, 1, 1, 1)
    mean, variance = match_statistics(larger, model, images).get_weights()[3:]
    # 4 * (1 + 1/8) - 1/8, and 2 * 0.5 - (0.5 - 0.25) * 2
    assert (float(mean[0]), float(variance[0])) == (pytest.approx(0.5), pytest.approx(4.375))


@pytest.mark.parametrize("kernel", [[0.0, 1.0], [1.0, 0.0]])
def test_a_constant_channel_keeps_its_variance_and_gets_its_mean(kernel) -> None:
    import tf_keras

    layers = tf_keras.layers
    parts = [layers.Dense(1, use_bias=False), layers.BatchNormalization()]
    model = tf_keras.Sequential([tf_keras.Input((1, 1, 1)), *parts])
    model.set_weights([np.array([[kernel[0]]]), *(np.array([value]) for value in (1.0, 0.0, 0.25, 2.0))])
    other = tf_keras.models.clone_model(model)
    other.set_weights([np.array([[kernel[1]]]), *model.get_weights()[1:]])
    images = np.array([0.0, 1.0], np.float32).reshape(2, 1, 1, 1)
    matched = match_statistics(other, model, images)
    assert float(matched.get_weights()[4][0]) == 2.0
    assert float(np.mean(matched(images))) == pytest.approx(float(np.mean(model(images))), abs=1e-6)


def test_a_bias_is_corrected_where_no_normalisation_takes_its_place(images) -> None:
    model = network(2)
    before = quantized(model)
    matched = match_statistics(before, model, images)
    for name, corrected in {"normalised": False, "added": True, "active": True, "logits": True}.items():
        kept, now = (np.asarray(layer_of(of, name).bias) for of in (before, matched))
        assert np.array_equal(kept, now) != corrected


@pytest.mark.parametrize("version", [2, 3])
def test_without_normalisation_it_is_the_correction_of_biases(version: int) -> None:
    model = models.build("digits_cnn", keras=version, seed=0)
    images = np.random.default_rng(0).random((20, 8, 8, 1))
    before = quantized(model)
    for one, other in zip(
        match_statistics(before, model, images).get_weights(),
        correct_biases(before, model, images).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("version", [2, 3])
def test_wrapped_stripped_baked_and_nested_networks_become_the_same(images, version: int) -> None:
    flat, nested = network(version), network(version, nested=True)
    nested.set_weights(flat.get_weights())
    plans = [laq.uniform(model, "linear", 3, progress=False) for model in (flat, nested)]
    expected = match_statistics(laq.bake(flat, plans[0]), flat, images)
    wrapped = match_statistics(laq.apply(flat, plans[0]), flat, images)
    inside = match_statistics(laq.apply(nested, plans[1]), nested, images)
    for found in (wrapped, laq.strip(wrapped), inside, match_statistics(laq.bake(nested, plans[1]), nested, images)):
        np.testing.assert_allclose(found(images), expected(images), rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(laq.bake(flat, plans[0])(images)) - np.asarray(expected(images))).max() > 1e-2
    assert laq.plan_of(expected) is plans[0] and laq.plan_of(wrapped) is plans[0]


@pytest.mark.parametrize("version", [2, 3])
def test_several_batches_give_what_one_gives(images, version: int) -> None:
    model = network(version)
    one, several = (match_statistics(quantized(model), model, images, batch_size=size) for size in (64, 16))
    for whole, parts in zip(one.get_weights(), several.get_weights(), strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", [2, 3])
def test_a_layer_in_two_places_is_matched_over_both(images, version: int) -> None:
    keras = keras_module(version)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    shared = [layers.Conv2D(2, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    x = inputs
    for layer in (*shared, *shared):
        x = layer(x)
    model = keras.Model(inputs, x)
    matched = match_statistics(quantized(model), model, images)
    seen = []
    for of in (model, matched):
        kernel_layer, normalisation = (layer for layer in of.layers if layer.weights)
        first = normalisation(kernel_layer(images))
        second = normalisation(kernel_layer(keras.activations.relu(first)))
        both = np.concatenate([np.asarray(first), np.asarray(second)]).reshape(-1, 2)
        seen.append((both.mean(0), both.std(0)))
    # The second call sees what the correction makes of the first, so this is near and not exact.
    np.testing.assert_allclose(seen[0], seen[1], atol=0.05)


@pytest.mark.parametrize(("version", "axis"), [(2, 1), (3, 1), (2, [1, 3]), (3, 2)])
def test_channels_may_be_on_any_axis(images, version: int, axis) -> None:
    keras = keras_module(version)
    layers = keras.layers
    parts = [layers.Conv2D(3, 3, use_bias=False), layers.BatchNormalization(axis=axis)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *parts])
    matched = match_statistics(quantized(model), model, images)
    others = tuple(a for a in range(4) if a not in np.atleast_1d(axis))
    wanted, found = (np.asarray(of(images), np.float64) for of in (model, matched))
    np.testing.assert_allclose(found.mean(others), wanted.mean(others), atol=1e-4)
    np.testing.assert_allclose(found.std(others), wanted.std(others), rtol=1e-4)


def test_layers_inside_of_other_layers_and_of_subclassed_models_are_matched(images) -> None:
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.conv = keras.layers.Conv2D(3, 3, use_bias=False, name="conv")
            self.norm = keras.layers.BatchNormalization(name="norm")

        def call(self, inputs):
            return self.norm(self.conv(inputs))

    class Net(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.block, self.pool = Block(name="block"), keras.layers.GlobalAveragePooling2D(name="pool")

        def call(self, inputs):
            return self.pool(self.block(inputs))

    model = Net()
    model(images)
    wanted = np.asarray(model.block(images), np.float64)
    plan = laq.uniform(model, "linear", 2, progress=False)
    for before in (laq.bake(model, plan), laq.apply(model, plan)):
        matched = match_statistics(before, model, images)
        found = np.asarray((laq.strip(matched) if before.name != model.name else matched).block(images))
        np.testing.assert_allclose(found.mean((0, 1, 2)), wanted.mean((0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(found.std((0, 1, 2)), wanted.std((0, 1, 2)), rtol=1e-4)


def test_a_network_with_nothing_to_match_or_another_one_is_refused(images) -> None:
    import tf_keras

    layers = tf_keras.layers
    bare, biased, wider = (
        tf_keras.Sequential([tf_keras.Input((6, 6, 2)), layers.Dense(units, use_bias=bias, name="dense")])
        for units, bias in ((3, False), (3, True), (4, True))
    )
    with pytest.raises(InputError, match="float_twin: expected batch normalisation, or dense or convolutional layers"):
        match_statistics(bare, bare, images)
    with pytest.raises(InputError, match="model: expected the layers of its float twin.* 'dense' in one of them"):
        match_statistics(bare, biased, images)
    with pytest.raises(InputError, match="model: expected the layers of its float twin.*other shapes.*'dense'"):
        match_statistics(wider, biased, images)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"images": np.ones((3, 6, 6, 2)) * 255}, "images"),
        ({"images": np.ones((0, 6, 6, 2))}, "images: expected at least one"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(images, bad: dict, said: str) -> None:
    model = network(2)
    with pytest.raises(InputError, match=said):
        match_statistics(model, model, **({"images": images} | bad))
