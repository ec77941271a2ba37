from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.adapters import keras_module
from tf_laq.attacks import PGD
from tf_laq.errors import InputError
from tf_laq.training import adapt_rounding

DAMPING = 0.01


def network(version: int):
    """Return a network with dense and convolutional kernels of all kinds, and others."""
    keras = keras_module(version)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", name="same")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(8, 3, strides=2, name="strided")(x)
    x = layers.Conv2D(4, 1, groups=2, name="grouped")(x)
    x = layers.Flatten(name="flatten")(x)
    model = keras.Model(inputs, layers.Dense(5, name="dense")(x))
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


def quantized(model, bits: int = 2):
    return laq.bake(model, laq.uniform(model, "kmeans", bits, progress=False))


def kernels(model) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}


def dense_network(kernel: np.ndarray):
    keras = keras_module(3)
    model = keras.Sequential(
        [keras.Input((1, 1, len(kernel))), keras.layers.Dense(kernel.shape[1], use_bias=False, name="dense")]
    )
    model.set_weights([kernel])
    return model


def by_least_squares(kernel: np.ndarray, levels: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Round row by row, and find the other rows anew after each by solving for the outputs that are still missing."""
    moments = inputs.T @ inputs
    moments += DAMPING * np.mean(np.diag(moments)) * np.eye(len(kernel))
    order = np.argsort(-np.diag(moments), kind="stable")
    # Rows with the damped moments: as many as inputs, with the same normal equations.
    roots = np.linalg.cholesky(moments).T
    kernel, rounded = kernel.copy(), np.zeros_like(kernel)
    for done, row in enumerate(order):
        rounded[row] = levels[np.abs(kernel[row][:, None] - levels).argmin(axis=1)]
        rest = order[done + 1 :]
        missing = roots[:, [row]] @ (kernel[[row]] - rounded[[row]])
        kernel[rest] += np.linalg.lstsq(roots[:, rest], missing, rcond=None)[0]
    return rounded


def test_the_rows_after_a_rounded_one_take_back_its_error_as_least_squares_would():
    generator = np.random.default_rng(0)
    # More than one block of rows; inputs that depend on one another.
    inputs = (generator.random((300, 10)) @ generator.random((10, 80)) + 0.1 * generator.random((300, 80))) / 10
    inputs = inputs.astype(np.float32)
    model = dense_network(generator.normal(size=(80, 6)).astype(np.float32))
    before = quantized(model)
    adapted = adapt_rounding(before, model, inputs.reshape(300, 1, 1, 80))
    wanted, rounded = (each.get_weights()[0].astype(np.float64) for each in (model, before))
    expected = by_least_squares(wanted, np.unique(rounded), inputs.astype(np.float64))
    found = adapted.get_weights()[0]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    errors = [np.linalg.norm(inputs @ (wanted - kernel)) for kernel in (found, rounded)]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("version", [2, 3])
def test_dense_and_convolutional_layers_come_nearer_to_the_float_twin(images, version: int):
    model = network(version)
    before = quantized(model)
    untouched = kernels(before)
    adapted = adapt_rounding(before, model, images, batch_size=16)
    wanted, rounded, found = kernels(model), kernels(before), kernels(adapted)
    for name in ("same", "strided", "dense"):
        layer = model.get_layer(name)
        outputs = keras_module(version).Model(model.inputs[0], layer.output)
        results = []
        for kernel in (wanted, rounded, found):
            layer.set_weights([kernel[name], layer.get_weights()[1]])
            results.append(np.asarray(outputs(images), np.float64))
        layer.set_weights([wanted[name], layer.get_weights()[1]])
        assert np.linalg.norm(results[2] - results[0]) < np.linalg.norm(results[1] - results[0])
        assert set(np.unique(found[name])) <= set(np.unique(rounded[name]))
    for name in ("depthwise", "grouped"):
        np.testing.assert_array_equal(found[name], rounded[name])
    for name, kernel in untouched.items():
        np.testing.assert_array_equal(rounded[name], kernel)


def test_a_layer_of_a_convolution_is_rounded_as_the_dense_layer_on_its_patches():
    keras = keras_module(3)
    generator = np.random.default_rng(3)
    images = generator.random((20, 6, 1, 8)).astype(np.float32)
    kernel = generator.normal(size=(24, 5)).astype(np.float32)
    dense = dense_network(kernel)
    convolution = keras.Sequential([keras.Input((6, 1, 8)), keras.layers.Conv2D(5, (3, 1), use_bias=False)])
    convolution.set_weights([kernel.reshape(3, 1, 8, 5)])
    patches = np.stack([images[:, at : at + 3, 0].reshape(20, 24) for at in range(4)], 1).reshape(80, 1, 1, 24)
    expected = adapt_rounding(quantized(dense), dense, patches).get_weights()[0]
    found = adapt_rounding(quantized(convolution), convolution, images).get_weights()[0]
    np.testing.assert_array_equal(found.reshape(24, 5), expected)
    assert not np.array_equal(expected, quantized(dense).get_weights()[0])


def test_kernels_with_many_levels_stay(images):
    model = network(3)
    before = laq.bake(model, laq.uniform(model, "linear", 8, progress=False))
    adapted = adapt_rounding(before, model, images)
    for weight, unchanged in zip(adapted.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, unchanged)


def test_the_file_has_the_bytes_of_the_plan_and_the_outputs_of_the_model(images, tmp_path):
    model = network(3)
    plan = laq.uniform(model, "kmeans", 2, progress=False)
    before = laq.bake(model, plan)
    adapted = adapt_rounding(before, model, images, attack=PGD(epsilon=0.1, steps=2))
    assert not np.array_equal(kernels(before)["dense"], kernels(adapted)["dense"])
    reports = [
        laq.export_tflite(of, tmp_path / name, plan, images=images)
        for name, of in (("before.tflite", before), ("adapted.tflite", adapted))
    ]
    assert reports[0].limit_bytes == reports[1].limit_bytes
    assert reports[1].parity.differing_predictions == 0


def test_models_that_cannot_be_rounded_are_refused(images):
    model = network(3)
    wrapped = laq.apply(model, laq.uniform(model, "kmeans", 2, progress=False))
    with pytest.raises(InputError, match=r"model: expected a baked or stripped model\. Received: a wrapped one"):
        adapt_rounding(wrapped, model, images)
    keras = keras_module(3)
    flat = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Flatten()])
    with pytest.raises(InputError, match="float_twin: expected dense or convolutional layers"):
        adapt_rounding(flat, flat, images)
