"""The zoo: one small model per layer kind and graph shape, in both versions of Keras."""

import dataclasses
import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq

KERAS = {"tf_keras": tf_keras, "keras": keras}


@functools.cache
def users_classes(k):
    """Return layers and a model as a user writes them, for one version of Keras."""
    register = k.utils.register_keras_serializable("tf_laq_tests")

    @register
    class KernelLayer(k.layers.Layer):
        """A layer with an attribute `kernel`."""

        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 3))
            super().build(shape)

        def call(self, inputs):
            return tf.matmul(inputs, self.kernel)

    @register
    class Composite(k.layers.Layer):
        """A layer that holds another one, and others in a list."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = k.layers.Dense(3)
            self.more = [k.layers.Dense(4), k.layers.Dense(2)]

        def build(self, shape):
            self.inner.build(shape)
            for layer, width in zip(self.more, (3, 4), strict=True):
                layer.build((*shape[:-1], width))
            super().build(shape)

        def call(self, inputs):
            outputs = self.inner(inputs)
            for layer in self.more:
                outputs = layer(outputs)
            return outputs

    @register
    class Subclassed(k.Model):
        """A model whose class can be made again from its configuration."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first = k.layers.Dense(5, activation="relu")
            self.second = k.layers.Dense(3)

        def build(self, shape):
            self.first.build(shape)
            self.second.build((*shape[:-1], 5))
            super().build(shape)

        def call(self, inputs):
            return self.second(self.first(inputs))

    return types.SimpleNamespace(KernelLayer=KernelLayer, Composite=Composite, Subclassed=Subclassed)


class Builder:
    """Makes the models of the zoo with one version of Keras."""

    def __init__(self, k):
        self.keras, self.layers, self.users = k, k.layers, users_classes(k)

    def sequential(self, shape, *parts, dtype=None):
        return self.keras.Sequential([self.keras.Input(shape, dtype=dtype), *parts])

    def functional(self, shape, graph, dtype=None):
        inputs = self.keras.Input(shape, dtype=dtype)
        return self.keras.Model(inputs, graph(inputs))

    def residual(self, x):
        layers = self.layers
        x = layers.Conv2D(4, 3, name="stem")(x)
        y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name="conv")(x))
        return layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([x, y]))))

    def shared(self, x):
        dense = self.layers.Dense(6)
        return dense(dense(x))

    def block(self):
        layers = self.layers
        parts = [self.keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv"), layers.ReLU()]
        return self.keras.Sequential(parts, name="block")

    def operations(self, x):
        """Operations on tensors in the graph itself: TensorFlow's in Keras 2, Keras's own in Keras 3."""
        relu = tf.nn.relu if self.keras is tf_keras else self.keras.ops.relu
        return relu(self.layers.Dense(3)(x)) + 1.0

    def narrow(self, dtype):
        dense = self.layers.Dense
        return self.sequential((8,), dense(4, dtype=dtype), dense(3, dtype=dtype), dtype=dtype)


ZOO = {
    "conv, batch norm, dense": lambda b: b.sequential(
        (8, 8, 3),
        b.layers.Conv2D(4, 3),
        b.layers.BatchNormalization(),
        b.layers.ReLU(),
        b.layers.Flatten(),
        b.layers.Dense(5),
    ),
    "residual": lambda b: b.functional((8, 8, 3), b.residual),
    "operations in the graph": lambda b: b.functional((4,), b.operations),
    "normalization": lambda b: b.sequential((4,), b.layers.Normalization(mean=1.0, variance=2.0), b.layers.Dense(3)),
    "rescaling": lambda b: b.sequential((4,), b.layers.Rescaling(0.5), b.layers.Dense(3)),
    "depthwise, separable": lambda b: b.sequential(
        (8, 8, 3),
        b.layers.DepthwiseConv2D(3, depth_multiplier=2),
        b.layers.SeparableConv2D(5, 3),
        b.layers.Flatten(),
    ),
    "one dimension": lambda b: b.sequential(
        (8, 4),
        b.layers.Conv1D(4, 3, groups=2),
        b.layers.SeparableConv1D(4, 2),
        b.layers.Conv1DTranspose(3, 2),
        b.layers.DepthwiseConv1D(2),
    ),
    "two dimensions": lambda b: b.sequential(
        (5, 5, 2), b.layers.Conv2DTranspose(4, 3), b.layers.Conv2D(4, 1, groups=2)
    ),
    "three dimensions": lambda b: b.sequential((5, 5, 5, 2), b.layers.Conv3D(4, 2), b.layers.Conv3DTranspose(2, 2)),
    "einsum": lambda b: b.sequential((4, 5), b.layers.EinsumDense("abc,cd->abd", output_shape=(None, 7))),
    "embedding, mask, LSTM": lambda b: b.functional(
        (6,), lambda x: b.layers.LSTM(4)(b.layers.Embedding(9, 5, mask_zero=True)(x)), dtype="int32"
    ),
    "GRU, simple RNN": lambda b: b.sequential((5, 4), b.layers.GRU(4, return_sequences=True), b.layers.SimpleRNN(4)),
    "stacked cells": lambda b: b.sequential((4, 6), b.layers.RNN([b.layers.LSTMCell(3), b.layers.GRUCell(4)])),
    "bidirectional, time distributed": lambda b: b.sequential(
        (5, 4),
        b.layers.Bidirectional(b.layers.LSTM(3, return_sequences=True)),
        b.layers.TimeDistributed(b.layers.Dense(2)),
    ),
    "convolutional LSTM": lambda b: b.sequential((4, 6, 6, 2), b.layers.ConvLSTM2D(3, 3)),
    "attention": lambda b: b.functional((5, 8), lambda x: b.layers.Dense(3)(b.layers.MultiHeadAttention(2, 4)(x, x))),
    "two outputs": lambda b: b.functional((4,), lambda x: [b.layers.Dense(3)(x), b.layers.Dense(2)(x)]),
    "a layer used twice": lambda b: b.functional((6,), b.shared),
    "lambda": lambda b: b.sequential((4,), b.layers.Lambda(lambda x: x * 2), b.layers.Dense(3)),
    "nested sequential": lambda b: b.sequential((8, 8, 4), b.block(), b.layers.Flatten(), b.layers.Dense(3)),
    "nested functional": lambda b: b.functional(
        (8, 8, 4), lambda x: b.layers.Dense(3)(b.layers.Flatten()(b.functional((8, 8, 4), lambda y: b.block()(y))(x)))
    ),
    "a user's layer": lambda b: b.sequential((4,), b.users.KernelLayer(), b.layers.Dense(2)),
    "a composite layer": lambda b: b.sequential((4,), b.users.Composite(), b.layers.Dense(2)),
    "mixed precision": lambda b: b.sequential(
        (8, 8, 3),
        *(
            b.layers.Conv2D(4, 3, dtype="mixed_float16"),
            b.layers.Flatten(dtype="mixed_float16"),
            b.layers.Dense(3, dtype="mixed_float16"),
        ),
    ),
    "float16": lambda b: b.narrow("float16"),
    "bfloat16": lambda b: b.narrow("bfloat16"),
    "float64": lambda b: b.narrow("float64"),
}


@dataclasses.dataclass
class Specimen:
    """A model of the zoo, what became of it, and what it was before."""

    name: str
    keras: types.ModuleType
    model: object
    batch: np.ndarray
    weights_before: list
    plan: laq.QuantizationPlan
    wrapped: object
    baked: object


@pytest.fixture(params=KERAS, scope="module", name="keras")
def keras_fixture(request):
    """Both versions of Keras in turn."""
    return KERAS[request.param]


@pytest.fixture(params=ZOO, ids=lambda name: name.replace(" ", "_"), scope="module")
def zoo(request, keras):
    """Every model of the zoo in turn, wrapped and baked under 3-bit log."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    model = ZOO[request.param](Builder(keras))
    batch = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    if "int" in tf.as_dtype(model.inputs[0].dtype).name:
        batch = np.abs(batch * 3).astype(np.int32) % 9
    weights = [np.array(w) for w in model.get_weights()]
    plan = laq.uniform(model, "log", 3)
    wrapped, baked = laq.apply(model, plan), laq.apply(model, plan, baked=True)
    return Specimen(request.param, keras, model, batch, weights, plan, wrapped, baked)


@pytest.fixture
def subclassed(keras):
    """A subclassed model, called once."""
    model = users_classes(keras).Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


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
