"""The operator norm of a convolution, against the matrix of all it does."""

import numpy as np
import pytest

from research.layers.operator_norm import operator_norm
from tf_laq import lipschitz
from tf_laq.adapters import adapter_of, keras_module


def only_layer(keras, layer, shape):
    model = keras.Sequential([keras.layers.Input(shape), layer])
    (tensor,), _ = adapter_of(model).find_weights(model)
    return model.layers[-1], tensor


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"strides": 2}, {"dilation_rate": 2, "padding": "same"}], ids=str
)
def test_it_is_the_largest_singular_value_of_the_whole_layer(version, options):
    keras = keras_module(version)
    layer, tensor = only_layer(keras, keras.layers.Conv2D(2, 3, **options), (5, 6, 2))
    kernel = np.random.default_rng(0).normal(size=tensor.values.shape).astype(np.float32)
    basis = np.eye(60, dtype=np.float32).reshape(60, 5, 6, 2)
    matrix = np.asarray(layer.convolution_op(basis, kernel)).reshape(60, -1)
    assert operator_norm(layer, tensor, kernel) == pytest.approx(np.linalg.norm(matrix, 2), rel=0.01)
    assert operator_norm(layer, tensor, np.zeros_like(kernel)) == 0.0


def test_other_layers_and_those_of_unknown_input_size_have_the_norm_of_their_matrix():
    keras = keras_module(2)
    for layer, shape in ((keras.layers.Dense(4), (7,)), (keras.layers.Conv2D(2, 3), (None, None, 2))):
        layer, tensor = only_layer(keras, layer, shape)
        expected = lipschitz.spectral_norm(tensor.layout.matrices(tensor.values))
        assert operator_norm(layer, tensor, tensor.values) == expected
