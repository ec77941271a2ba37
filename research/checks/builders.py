"""The networks that the check `architectures` exports: known ones, this package's, and one for every kind of layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras import applications

from tf_laq import models

layers = tf_keras.layers

CLASSES = 10


def known(make: Callable[..., Any], side: int, **options: Any) -> Callable[[], Any]:
    """Return a function that builds a network of `tf_keras.applications` with logits."""
    shape = (side, side, 3)
    return lambda: make(weights=None, input_shape=shape, classes=CLASSES, **{"classifier_activation": None, **options})


def chain(shape: tuple[int, ...], *stages: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that builds layers one after the other, with a dense layer at the end."""
    return lambda: tf_keras.Sequential([layers.Input(shape), *(stage() for stage in stages), layers.Dense(CLASSES)])


def attention() -> Any:
    """A transformer block over eight positions, with learned positions and a normalisation after each half."""
    inputs = x = layers.Input((8, 16))
    y = layers.MultiHeadAttention(num_heads=2, key_dim=8)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


def embedding() -> Any:
    """Numbers of words, given as float32 since a file has one float32 input, their embeddings and a convolution."""
    inputs = layers.Input((12,))
    words = layers.Lambda(lambda x: x * 63, name="words")(inputs)
    x = layers.Embedding(64, 16)(words)
    x = layers.Conv1D(24, 3, activation="relu")(x)
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalMaxPooling1D()(x)))


def u_net() -> Any:
    """Two levels down and up, with concatenated shortcuts; every pixel is classified."""

    def block(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = layers.Input((32, 32, 3))
    first = block(inputs, 8)
    second = block(layers.MaxPooling2D()(first), 16)
    x = block(layers.MaxPooling2D()(second), 32)
    for shortcut, filters in ((second, 16), (first, 8)):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, shortcut]), filters)
    return tf_keras.Model(inputs, layers.Conv2D(CLASSES, 1)(x))


def residual_mlp() -> Any:
    """Three dense blocks with shortcuts around them."""
    inputs = layers.Input((64,))
    x = layers.Dense(48)(inputs)
    for _ in range(3):
        y = layers.Dense(48, activation="swish")(layers.BatchNormalization()(x))
        x = layers.Add()([x, y])
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def squeeze_and_excitation() -> Any:
    """A convolution whose channels are weighted by a small network of their means."""
    inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    y = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(x))
    y = layers.Reshape((1, 1, 16))(layers.Dense(16, activation="sigmoid")(y))
    x = layers.Flatten()(layers.Multiply()([x, y]))
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def siamese() -> Any:
    """One branch used on both halves of the image, so that its kernels are in the graph twice."""
    inputs = layers.Input((8, 16, 1))
    branch = tf_keras.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(16)])
    halves = [layers.Cropping2D(((0, 0), sides))(inputs) for sides in ((0, 8), (8, 0))]
    x = layers.Subtract()([branch(half) for half in halves])
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def two_outputs() -> Any:
    """Return a network with two outputs, which no file of this package has."""
    inputs = layers.Input((8,))
    x = layers.Dense(16, activation="relu")(inputs)
    return tf_keras.Model(inputs, [layers.Dense(CLASSES)(x), layers.Dense(CLASSES)(x)])


@tf_keras.utils.register_keras_serializable("checks")
class Subclassed(tf_keras.Model):  # type: ignore[misc]  # Keras is untyped.
    """A model without a graph of layers: a loop in its call uses one dense layer three times."""

    def __init__(self, named: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.named = named
        names = ["first", "inner", "bottleneck", "outputs"] if named else [None] * 4
        self.first = layers.Conv2D(8, 3, activation="relu", name=names[0])
        self.flatten = layers.Flatten()
        self.inner = layers.Dense(32, activation="tanh", name=names[1])
        self.bottleneck = layers.Dense(32, name=names[2])
        self.logits = layers.Dense(CLASSES, name=names[3])

    def call(self, images: Any) -> Any:
        """Return logits."""
        x = self.bottleneck(self.flatten(self.first(images)))
        for _ in range(3):
            x = x + self.inner(x)
        return self.logits(x)

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {"name": self.name, "named": self.named}


def subclassed(named: bool) -> Any:
    """Return a built subclassed model, its layers with names of their own or with those that tf_keras counts up."""
    model = Subclassed(named, name="subclassed")
    model.build((None, 12, 12, 1))
    model.compute_output_shape((None, 12, 12, 1))
    return model


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    **{name: functools.partial(models.build, name) for name in models.names() if name != "wide_resnet"},
    "WRN-32-1": lambda: models.build("wide_resnet", width=1),
    "causal and dilated Conv1D": chain(
        (24, 3),
        lambda: layers.Conv1D(16, 3, padding="causal", activation="relu"),
        lambda: layers.Conv1D(16, 3, dilation_rate=2),
        layers.BatchNormalization,
        layers.Flatten,
    ),
    "Conv3D": chain((6, 8, 8, 2), lambda: layers.Conv3D(8, 3, activation="relu"), layers.Flatten),
    "Conv3D and normalisation": chain(
        (6, 8, 8, 2), lambda: layers.Conv3D(8, 3), layers.BatchNormalization, layers.Flatten
    ),
    "Conv2DTranspose": chain(
        (8, 8, 3),
        lambda: layers.Conv2DTranspose(8, 3, strides=2, padding="same"),
        layers.BatchNormalization,
        layers.ReLU,
        layers.Flatten,
    ),
    "Conv1DTranspose": chain((8, 3), lambda: layers.Conv1DTranspose(8, 3, strides=2), layers.ReLU, layers.Flatten),
    "Conv3DTranspose": chain((4, 4, 4, 2), lambda: layers.Conv3DTranspose(4, 3), layers.ReLU, layers.Flatten),
    "grouped and dilated Conv2D": chain(
        (12, 12, 4),
        lambda: layers.Conv2D(8, 3, groups=2, activation="relu"),
        lambda: layers.Conv2D(8, 3, dilation_rate=2),
        layers.BatchNormalization,
        layers.Flatten,
    ),
    "depthwise and separable": chain(
        (12, 12, 3),
        lambda: layers.SeparableConv2D(8, 3, depth_multiplier=2),
        layers.BatchNormalization,
        layers.ReLU,
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.BatchNormalization,
        layers.Flatten,
    ),
    "SeparableConv1D": chain((24, 3), lambda: layers.SeparableConv1D(8, 3, activation="relu"), layers.Flatten),
    "LSTM": chain((8, 12), lambda: layers.LSTM(24)),
    "stacked LSTM": chain((8, 12), lambda: layers.LSTM(16, return_sequences=True), lambda: layers.LSTM(16)),
    "GRU": chain((8, 12), lambda: layers.GRU(24)),
    "SimpleRNN": chain((8, 12), lambda: layers.SimpleRNN(24)),
    "bidirectional LSTM": chain((8, 12), lambda: layers.Bidirectional(layers.LSTM(16))),
    "bidirectional GRU": chain((8, 12), lambda: layers.Bidirectional(layers.GRU(16))),
    "ConvLSTM2D": chain((4, 8, 8, 2), lambda: layers.ConvLSTM2D(4, 3), layers.Flatten),
    "TimeDistributed": chain(
        (6, 8, 8, 1), lambda: layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")), layers.Flatten
    ),
    "Embedding": embedding,
    "MultiHeadAttention": attention,
    "U-Net": u_net,
    "residual MLP": residual_mlp,
    "squeeze and excitation": squeeze_and_excitation,
    "siamese": siamese,
    "subclassed": lambda: subclassed(named=True),
    "subclassed with unnamed layers": lambda: subclassed(named=False),
    "PReLU and LocallyConnected": chain(
        (8, 8, 2), lambda: layers.LocallyConnected2D(4, 3, implementation=1), layers.PReLU, layers.Flatten
    ),
    "operator without a built-in": chain(
        (8,), lambda: layers.Lambda(tf.math.bessel_i0, name="bessel"), lambda: layers.Dense(16)
    ),
    "float16": chain((8,), lambda: layers.Dense(16, dtype="float16"), lambda: layers.Dense(16, dtype="float16")),
    "two outputs": two_outputs,
    "MobileNet": known(applications.MobileNet, 64, alpha=0.5),
    "MobileNetV2": known(applications.MobileNetV2, 64),
    "MobileNetV3Small": known(applications.MobileNetV3Small, 64),
    "MobileNetV3Large": known(applications.MobileNetV3Large, 64),
    "RegNetX002": known(applications.RegNetX002, 32),
    "RegNetY002": known(applications.RegNetY002, 32),
    "EfficientNetB0": known(applications.EfficientNetB0, 32),
    "EfficientNetV2B0": known(applications.EfficientNetV2B0, 32),
    "VGG16": known(applications.VGG16, 32, include_top=False, pooling="avg"),
    "ResNet50": known(applications.ResNet50, 32),
    "ResNet50V2": known(applications.ResNet50V2, 32),
    "DenseNet121": known(applications.DenseNet121, 32),
    "Xception": known(applications.Xception, 71),
    "ConvNeXtTiny": known(applications.ConvNeXtTiny, 32),
    "InceptionV3": known(applications.InceptionV3, 75),
    "ResNetRS50": known(applications.ResNetRS50, 32),
    "NASNetMobile": known(applications.NASNetMobile, 32),
    "InceptionResNetV2": known(applications.InceptionResNetV2, 75),
}
