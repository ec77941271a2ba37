from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.adapters import keras_module
from tf_laq.errors import InputError
from tf_laq.training import correct_biases


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((50, 8, 8, 2)).astype(np.float32)


def network(version: int, bias: bool = True):
    """Return a network with a layer of every kind that has a bias, one of them in a nested model."""
    keras = keras_module(version)
    layers = keras.layers
    head = [
        layers.Conv2D(6, 3, activation="relu", use_bias=bias, name="conv"),
        layers.DepthwiseConv2D(3, use_bias=bias, name="depthwise"),
        layers.SeparableConv2D(5, 3, activation="tanh", use_bias=bias, name="separable"),
        layers.Conv2DTranspose(4, 2, activation="relu", use_bias=bias, name="transposed"),
        layers.Flatten(),
    ]
    tail = [
        layers.Dense(7, activation="relu", use_bias=bias, name="dense"),
        layers.Dense(3, use_bias=bias, name="logits"),
    ]
    inputs = keras.Input((8, 8, 2))
    x = inputs
    for layer in head:
        x = layer(x)
    return keras.Model(inputs, keras.Sequential([keras.Input(x.shape[1:]), *tail], name="tail")(x))


def quantize(model):
    return laq.bake(model, laq.uniform(model, "linear", 3, progress=False))


def means_before_activation(model, images: np.ndarray, version: int) -> list[np.ndarray]:
    """Return the means by another way: a copy of every layer without its activation, on that layer's inputs."""
    keras = keras_module(version)
    found, x = [], images

    def run(layers):
        nonlocal x
        for layer in layers:
            if hasattr(layer, "layers"):
                run(layer.layers)
            elif layer.weights:
                plain = type(layer).from_config({**layer.get_config(), "activation": None})
                plain.build(x.shape)
                plain.set_weights(layer.get_weights())
                outputs = np.asarray(plain(x), np.float64)
                found.append(outputs.mean(tuple(range(outputs.ndim - 1))))
                x = np.asarray(layer(x))
            elif not isinstance(layer, keras.layers.InputLayer):
                x = np.asarray(layer(x))

    run(model.layers)
    return found


@pytest.mark.parametrize("version", [2, 3])
def test_every_layer_gets_the_mean_of_the_float_network_with_earlier_layers_corrected(images, version: int) -> None:
    model = network(version)
    quantized = quantize(model)
    before = [weight.copy() for weight in quantized.get_weights()]
    wanted = means_before_activation(model, images, version)
    corrected = correct_biases(quantized, model, images, batch_size=16)
    for mean, other in zip(means_before_activation(corrected, images, version), wanted, strict=True):
        np.testing.assert_allclose(mean, other, rtol=1e-4, atol=1e-5)
    shifted = [
        float(np.abs(mean - other).max())
        for mean, other in zip(means_before_activation(quantized, images, version), wanted, strict=True)
    ]
    assert max(shifted) > 1e-2
    for kept, now in zip(before, quantized.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)
    for kept, now in zip(before, corrected.get_weights(), strict=True):
        if kept.ndim > 1:
            np.testing.assert_array_equal(kept, now)


def test_the_means_do_not_depend_on_the_batch_size(images) -> None:
    model = network(2)
    quantized = quantize(model)
    whole, parts = (correct_biases(quantized, model, images, batch_size=size).get_weights() for size in (50, 7))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_network_without_biases_or_another_one_is_refused(images) -> None:
    plain, bare = network(2), network(2, bias=False)
    with pytest.raises(InputError, match="float_twin: expected dense or convolutional layers with a bias"):
        correct_biases(quantize(bare), bare, images)
    with pytest.raises(InputError, match="model: expected the layers of its float twin"):
        correct_biases(quantize(bare), plain, images)
