from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.adapters import keras_module
from tf_laq.errors import InputError
from tf_laq.training import recalibrate_batch_norm


def network(version: int, nested: bool = False):
    """Return a network with two normalisations, the second on the channels of a flat vector."""
    keras = keras_module(version)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="first")(x)
    x = layers.ReLU()(x)
    tail = [layers.Flatten(), layers.Dense(5, name="dense"), layers.BatchNormalization(name="second")]
    if nested:
        tail = [keras.Sequential([keras.Input(x.shape[1:]), *tail], name="tail")]
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, x)


def statistics(model, layer: str, version: int):
    """Return moving mean and variance of a layer, and its inputs in a call of the model."""
    normalisation = model.get_layer(layer)
    found = normalisation.moving_mean.numpy(), normalisation.moving_variance.numpy()
    return found, keras_module(version).Model(model.inputs[0], normalisation.input)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("batch_size", [7, 50])
def test_statistics_are_those_of_the_inputs_with_earlier_layers_renewed(images, version: int, batch_size: int) -> None:
    model = network(version)
    quantized = laq.bake(model, laq.uniform(model, "log", 2, progress=False))
    before = [weight.copy() for weight in quantized.get_weights()]
    renewed = recalibrate_batch_norm(quantized, images, batch_size=batch_size)
    for layer in ("first", "second"):
        (mean, variance), inputs_of = statistics(renewed, layer, version)
        inputs = np.asarray(inputs_of(images), np.float64)
        axes = tuple(range(inputs.ndim - 1))
        np.testing.assert_allclose(mean, inputs.mean(axes), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, inputs.var(axes), rtol=1e-5)
    for a, b in zip(before, quantized.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("version", [2, 3])
def test_a_wrapped_and_a_nested_network_get_the_same_statistics(images, version: int) -> None:
    flat = network(version)
    nested = network(version, nested=True)
    nested.set_weights(flat.get_weights())
    plans = [laq.uniform(model, "linear", 3, progress=False) for model in (flat, nested)]
    wrapped = recalibrate_batch_norm(laq.apply(flat, plans[0]), images)
    expected = recalibrate_batch_norm(laq.bake(flat, plans[0]), images)
    in_parts = recalibrate_batch_norm(laq.bake(nested, plans[1]), images)
    np.testing.assert_allclose(laq.strip(wrapped)(images), expected(images), atol=1e-6)
    np.testing.assert_allclose(in_parts(images), expected(images), atol=1e-6)


def test_channels_may_be_on_any_axis(images) -> None:
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((6, 6, 2)), tf_keras.layers.BatchNormalization(axis=[1, 3])])
    mean, variance = recalibrate_batch_norm(model, images).get_weights()[2:]
    np.testing.assert_allclose(np.squeeze(mean), images.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(np.squeeze(variance), images.var((0, 2)), rtol=1e-5)


def test_a_network_without_batch_normalisation_is_refused_by_name(images) -> None:
    model = laq.models.build("digits_cnn")
    with pytest.raises(InputError, match="'digits_cnn' without a layer of tf_keras's BatchNormalization"):
        recalibrate_batch_norm(model, images)


@pytest.mark.parametrize(
    ("bad", "said"), [({"images": np.ones((3, 6, 6, 2)) * 255}, "images"), ({"batch_size": 0}, "batch_size")]
)
def test_a_wrong_argument_is_refused_by_name(images, bad: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        recalibrate_batch_norm(network(2), **({"images": images} | bad))
