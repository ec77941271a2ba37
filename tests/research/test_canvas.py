"""One kernel at a time, or all weights, exchanged in one model."""

import fnmatch

import numpy as np
import pytest

import tf_laq as laq
from research.canvas import Canvas
from tf_laq.adapters import keras_module
from tf_laq.quantizers import Linear


@pytest.mark.parametrize("version", [2, 3])
def test_one_kernel_is_quantized_and_the_others_stay_float32(version):
    layers = keras_module(version).layers
    model = keras_module(version).Sequential(
        [layers.Input((6,)), layers.Dense(5, name="first"), layers.Dense(4, name="second")]
    )
    images, canvas = np.random.default_rng(0).random((3, 6), np.float32), Canvas(model)
    for tensor in canvas.tensors:
        others = {name: None for name in ("first", "second") if not fnmatch.fnmatch(name, tensor.layer)}
        expected = laq.bake(model, laq.uniform(model, "linear", 2, overrides=others))
        with canvas.quantized(tensor, Linear(2)):
            np.testing.assert_array_equal(canvas.logits(images), expected(images))
            assert not np.array_equal(canvas.logits(images), model(images))
        np.testing.assert_array_equal(canvas.logits(images), model(images))
