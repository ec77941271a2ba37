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

    @register
    class Nested(k.Model):
        """A model whose parts are a subclassed model, a Sequential one and a layer."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = Subclassed(name="inner")
            self.block = k.Sequential([k.Input((3,)), k.layers.Dense(6)], name="block")
            self.last = k.layers.Dense(3)

        def build(self, shape):
            self.inner.build(shape)
            self.last.build((*shape[:-1], 6))
            super().build(shape)

        def call(self, inputs):
            return self.last(self.block(self.inner(inputs)))

    return types.SimpleNamespace(KernelLayer=KernelLayer, Composite=Composite, Subclassed=Subclassed, Nested=Nested)


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

    def convolution(self, x, filters, size, activation="relu", **options):
        layers = self.layers
        x = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
        return layers.Activation(activation)(layers.BatchNormalization()(x))

    def classes(self, x):
        return self.layers.Dense(3)(self.layers.GlobalAveragePooling2D()(x))

    def resnet(self, x):
        x = self.convolution(x, 8, 3)
        y = self.convolution(self.convolution(x, 4, 1, strides=2), 4, 3)
        y, shortcut = self.convolution(y, 16, 1, "linear"), self.convolution(x, 16, 1, "linear", strides=2)
        return self.classes(self.layers.ReLU()(self.layers.Add()([y, shortcut])))

    def densenet(self, x):
        layers = self.layers
        for _ in range(3):
            y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
            x = layers.Concatenate()([x, y])
        return self.classes(layers.AveragePooling2D(2)(layers.Conv2D(6, 1)(x)))

    def squeeze_and_excitation(self, x):
        layers = self.layers
        x = layers.Conv2D(8, 3)(x)
        scale = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D()(x))
        scale = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid")(scale))
        return self.classes(layers.Multiply()([x, scale]))

    def inception(self, x):
        layers = self.layers
        pooled = layers.MaxPooling2D(3, strides=1, padding="same")(x)
        branches = [(x, 1), (layers.Conv2D(2, 1)(x), 3), (layers.Conv2D(2, 1)(x), 5), (pooled, 1)]
        branches = [layers.Conv2D(3, size, padding="same", activation="relu")(y) for y, size in branches]
        return self.classes(layers.Concatenate()(branches))

    def unet(self, x):
        layers = self.layers
        wide = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        deep = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(wide))
        x = layers.Concatenate()([wide, layers.Conv2DTranspose(4, 2, strides=2)(deep)])
        x = layers.Concatenate()([x, layers.UpSampling2D()(deep)])
        return layers.Conv2D(2, 1)(x)

    def inverted_residual(self, x):
        layers = self.layers
        y = layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(x))
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(layers.ReLU(6.0)(y))
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        return self.classes(layers.Add()([x, self.convolution(y, 3, 1, "linear")]))

    def convnext(self, x):
        layers = self.layers
        x = layers.LayerNormalization()(layers.Conv2D(6, 2, strides=2)(x))
        y = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(x))
        y = layers.Dense(6)(layers.Dense(24, activation="gelu")(y))
        return self.classes(layers.Add()([x, y]))

    def vision_transformer(self, x):
        layers = self.layers
        x = layers.Reshape((4, 8))(layers.Conv2D(8, 4, strides=4)(x))
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
        y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(8)(y)])
        return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))

    def mixer(self, x):
        layers = self.layers
        x = layers.Reshape((4, 8))(layers.Conv2D(8, 4, strides=4)(x))
        y = layers.Dense(4, activation="relu")(layers.Permute((2, 1))(x))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        return layers.Dense(3)(layers.GlobalMaxPooling1D()(layers.Dense(8, activation="relu")(x)))

    def temporal(self, x):
        layers = self.layers
        for dilation in (1, 2):
            y = layers.Conv1D(4, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
            x = layers.Add()([x, y])
        return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))

    def tagger(self, x):
        layers = self.layers
        x = layers.Bidirectional(layers.GRU(3))(layers.Embedding(9, 5)(x))
        return layers.Dense(3)(layers.Dropout(0.3)(x))

    def captions(self, x):
        layers = self.layers
        x = layers.Reshape((3, 18))(layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(6, 3, strides=3, padding="same")(x)))
        return layers.Dense(3)(layers.LSTM(4)(x))

    def two_inputs(self):
        encoder = self.sequential((4,), self.layers.Dense(5, activation="relu"))
        inputs = [self.keras.Input((4,)), self.keras.Input((4,))]
        return self.keras.Model(inputs, self.layers.Dense(3)(self.layers.Subtract()([encoder(x) for x in inputs])))

    def application(self, name):
        return getattr(self.keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)

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
    "ResNet": lambda b: b.functional((8, 8, 3), b.resnet),
    "DenseNet": lambda b: b.functional((8, 8, 3), b.densenet),
    "squeeze and excitation": lambda b: b.functional((8, 8, 3), b.squeeze_and_excitation),
    "inception": lambda b: b.functional((8, 8, 3), b.inception),
    "U-Net": lambda b: b.functional((8, 8, 3), b.unet),
    "inverted residual": lambda b: b.functional((8, 8, 3), b.inverted_residual),
    "ConvNeXt": lambda b: b.functional((8, 8, 3), b.convnext),
    "vision transformer": lambda b: b.functional((8, 8, 3), b.vision_transformer),
    "mixer": lambda b: b.functional((8, 8, 3), b.mixer),
    "temporal convolutions": lambda b: b.functional((8, 4), b.temporal),
    "bidirectional GRU over words": lambda b: b.functional((6,), b.tagger, dtype="int32"),
    "LSTM over columns": lambda b: b.functional((8, 8, 3), b.captions),
    "two inputs, one encoder": lambda b: b.two_inputs(),
    "MobileNetV2": lambda b: b.application("MobileNetV2"),
    "EfficientNetB0": lambda b: b.application("EfficientNetB0"),
}
# Larger models, made of layers that others in the table have too.
SLOW = {
    *("ResNet", "DenseNet", "squeeze and excitation", "inception", "inverted residual", "U-Net", "ConvNeXt", "mixer"),
    *("bidirectional GRU over words", "LSTM over columns", "MobileNetV2", "EfficientNetB0"),
}


@dataclasses.dataclass
class Specimen:
    """A model of the zoo, what became of it, and what it was before."""

    name: str
    keras: types.ModuleType
    model: object
    batch: np.ndarray | list[np.ndarray]
    weights_before: list
    plan: laq.QuantizationPlan
    wrapped: object
    baked: object


@pytest.fixture(params=KERAS, scope="module", name="keras")
def keras_fixture(request):
    """Both versions of Keras in turn."""
    return KERAS[request.param]


def example(tensor, seed):
    """Return a batch of three for an input of a model."""
    batch = np.random.default_rng(seed).normal(size=(3, *tensor.shape[1:])).astype(np.float32)
    return np.abs(batch * 3).astype(np.int32) % 9 if "int" in tf.as_dtype(tensor.dtype).name else batch


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ZOO],
    ids=lambda name: name.replace(" ", "_"),
    scope="module",
)
def named_model(request, keras):
    """Every model of the zoo in turn, with its name."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    return request.param, ZOO[request.param](Builder(keras))


@pytest.fixture(scope="module")
def zoo(named_model, keras):
    """Every model of the zoo in turn, wrapped and baked under 3-bit log."""
    name, model = named_model
    batch = [example(tensor, seed) for seed, tensor in enumerate(model.inputs)]
    batch = batch if len(batch) > 1 else batch[0]
    weights = [np.array(w) for w in model.get_weights()]
    plan = laq.uniform(model, "log", 3)
    wrapped, baked = laq.apply(model, plan), laq.bake(model, plan)
    return Specimen(name, keras, model, batch, weights, plan, wrapped, baked)


@pytest.fixture(params=["alone", "with_models_in_it", "in_a_graph"])
def subclassed(request, keras):
    """A subclassed model, called once; or one with models in it; or one that is a layer of a functional model."""
    keras.utils.set_random_seed(1)
    b = Builder(keras)
    if request.param == "in_a_graph":
        return b.functional((4,), lambda x: b.layers.Dense(3)(b.users.Subclassed(name="inner")(x)))
    model = b.users.Subclassed() if request.param == "alone" else b.users.Nested()
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
