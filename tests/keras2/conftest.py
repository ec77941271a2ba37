"""The zoo: one small tf_keras model per layer kind and graph shape."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq

layers = tf_keras.layers


@tf_keras.utils.register_keras_serializable("tf_laq_tests")
class KernelLayer(layers.Layer):
    """A user's layer with an attribute `kernel`."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 3))
        super().build(shape)

    def call(self, inputs):
        return tf.matmul(inputs, self.kernel)


@tf_keras.utils.register_keras_serializable("tf_laq_tests")
class Composite(layers.Layer):
    """A user's layer that holds another one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3)

    def call(self, inputs):
        return self.inner(inputs)


@tf_keras.utils.register_keras_serializable("tf_laq_tests")
class Subclassed(tf_keras.Model):
    """A subclassed model whose class can be made again from its configuration."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(5, activation="relu")
        self.second = layers.Dense(3)

    def call(self, inputs):
        return self.second(self.first(inputs))


def sequential(shape, *parts, dtype=None):
    return tf_keras.Sequential([layers.Input(shape, dtype=dtype), *parts])


def functional(shape, graph, dtype=None):
    inputs = layers.Input(shape, dtype=dtype)
    return tf_keras.Model(inputs, graph(inputs))


def residual(x):
    x = layers.Conv2D(4, 3, name="stem")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name="conv")(x))
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([x, y]))))


def shared(x):
    dense = layers.Dense(6)
    return dense(dense(x))


def block():
    return tf_keras.Sequential([layers.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv"), layers.ReLU()], "block")


def narrow(dtype):
    return sequential((8,), layers.Dense(4, dtype=dtype), layers.Dense(3, dtype=dtype), dtype=dtype)


ZOO = {
    "conv, batch norm, dense": lambda: sequential(
        (8, 8, 3),
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(5),
    ),
    "residual": lambda: functional((8, 8, 3), residual),
    "TensorFlow operations": lambda: functional((4,), lambda x: tf.nn.relu(layers.Dense(3)(x)) + 1.0),
    "normalization": lambda: sequential((4,), layers.Normalization(mean=1.0, variance=2.0), layers.Dense(3)),
    "rescaling": lambda: sequential((4,), layers.Rescaling(0.5), layers.Dense(3)),
    "depthwise, separable": lambda: sequential(
        (8, 8, 3),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.SeparableConv2D(5, 3),
        layers.Flatten(),
    ),
    "one dimension": lambda: sequential(
        (8, 4),
        layers.Conv1D(4, 3, groups=2),
        layers.SeparableConv1D(4, 2),
        layers.Conv1DTranspose(3, 2),
        layers.DepthwiseConv1D(2),
    ),
    "two dimensions": lambda: sequential((5, 5, 2), layers.Conv2DTranspose(4, 3), layers.Conv2D(4, 1, groups=2)),
    "three dimensions": lambda: sequential((5, 5, 5, 2), layers.Conv3D(4, 2), layers.Conv3DTranspose(2, 2)),
    "einsum": lambda: sequential((4, 5), layers.EinsumDense("abc,cd->abd", output_shape=(None, 7))),
    "embedding, mask, LSTM": lambda: functional(
        (6,), lambda x: layers.LSTM(4)(layers.Embedding(9, 5, mask_zero=True)(x)), dtype="int32"
    ),
    "GRU, simple RNN": lambda: sequential((5, 4), layers.GRU(4, return_sequences=True), layers.SimpleRNN(4)),
    "stacked cells": lambda: sequential((4, 6), layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)])),
    "bidirectional, time distributed": lambda: sequential(
        (5, 4),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(2)),
    ),
    "convolutional LSTM": lambda: sequential((4, 6, 6, 2), layers.ConvLSTM2D(3, 3)),
    "attention": lambda: functional((5, 8), lambda x: layers.Dense(3)(layers.MultiHeadAttention(2, 4)(x, x))),
    "two outputs": lambda: functional((4,), lambda x: [layers.Dense(3)(x), layers.Dense(2)(x)]),
    "a layer used twice": lambda: functional((6,), shared),
    "lambda": lambda: sequential((4,), layers.Lambda(lambda x: x * 2), layers.Dense(3)),
    "nested sequential": lambda: sequential((8, 8, 4), block(), layers.Flatten(), layers.Dense(3)),
    "nested functional": lambda: functional(
        (8, 8, 4), lambda x: layers.Dense(3)(layers.Flatten()(functional((8, 8, 4), lambda y: block()(y))(x)))
    ),
    "a user's layer": lambda: sequential((4,), KernelLayer(), layers.Dense(2)),
    "a composite layer": lambda: sequential((4,), Composite(), layers.Dense(2)),
    "mixed precision": lambda: sequential(
        (8, 8, 3),
        *(
            layers.Conv2D(4, 3, dtype="mixed_float16"),
            layers.Flatten(dtype="mixed_float16"),
            layers.Dense(3, dtype="mixed_float16"),
        ),
    ),
    "float16": lambda: narrow("float16"),
    "bfloat16": lambda: narrow("bfloat16"),
    "float64": lambda: narrow("float64"),
}


@dataclasses.dataclass
class Specimen:
    """A model of the zoo, what became of it, and what it was before."""

    name: str
    model: tf_keras.Model
    batch: np.ndarray
    weights_before: list
    nodes_before: list
    plan: laq.QuantizationPlan
    wrapped: tf_keras.Model
    baked: tf_keras.Model


@pytest.fixture(params=ZOO, ids=lambda name: name.replace(" ", "_"), scope="module")
def zoo(request):
    """Every model of the zoo in turn, wrapped and baked under 3-bit log."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(1)
    model = ZOO[request.param]()
    batch = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    if model.inputs[0].dtype.is_integer:
        batch = np.abs(batch * 3).astype(np.int32) % 9
    weights = [np.array(w) for w in model.get_weights()]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    plan = laq.uniform(model, "log", 3)
    wrapped, baked = laq.apply(model, plan), laq.apply(model, plan, baked=True)
    return Specimen(request.param, model, batch, weights, nodes, plan, wrapped, baked)


@pytest.fixture
def subclassed():
    """A subclassed model, called once."""
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


@pytest.fixture
def kernel_layer():
    """The class of a user's layer with a kernel."""
    return KernelLayer


def outputs(model, batch):
    """Return the outputs of a model as a list of float64 arrays."""
    result = model(batch)
    return [np.asarray(y).astype(np.float64) for y in (result if isinstance(result, list) else [result])]


def difference(first, second, batch):
    """Return the largest difference between two models' outputs."""
    pairs = zip(outputs(first, batch), outputs(second, batch), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.fixture(name="difference")
def difference_fixture():
    return difference
