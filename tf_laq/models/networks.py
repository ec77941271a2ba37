"""The networks of the paper and three small ones, as Keras models that output logits.

Every model takes float32 images (n, height, width, channels) in [0, 1] and returns float32 logits (n, classes): no
softmax, no normalisation of the input.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of, whole
from tf_laq.adapters import keras_module


@typed
def build(name: str, *, keras: int = 2, seed: int | None = None, **options: Any) -> Any:
    """Build a network with fresh weights.

    Args:
        name: One of `names()`.
        keras: The version of Keras: 2 (`tf_keras`) or 3. The layers have the same names, shapes and order in both.
        seed: Makes the initial weights the same on every call; None draws them from Keras's global generator. The
            two versions of Keras draw different ones.
        **options: What the network's own function takes: `classes` for all, and `width` for "wide_resnet".

    Returns:
        A functional model from images to logits.

    Raises:
        InputError: Unknown name or option, or an option out of range.

    Example:
        >>> names()
        ['digits_cnn', 'mnist_cnn', 'mnist_cnn_madry', 'mnist_separable', 'wide_resnet']
        >>> build("lenet")
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: name: expected one of digits_cnn, mnist_cnn, mnist_cnn_madry, \
mnist_separable, wide_resnet. Received: 'lenet'.
    """
    one_of("name", name, names())
    if seed is not None:
        whole("seed", seed, minimum=0)
    for option, value in options.items():
        one_of(f"option of {name}", option, options_of(name))
        whole(f"{option} of {name}", value)
    module = keras_module(keras)
    return _REGISTRY[name](module, _initializers(module, seed), **options)


def names() -> list[str]:
    """Return the names that `build` knows."""
    return sorted(_REGISTRY)


def options_of(name: str) -> list[str]:
    """Return the options that `build` takes for the network `name`: whole numbers from 1.

    Example:
        >>> options_of("wide_resnet")
        ['classes', 'width']
    """
    one_of("name", name, names())
    return list(inspect.signature(_REGISTRY[name]).parameters)[2:]


def input_shape(name: str) -> tuple[int, int, int]:
    """Return (height, width, channels) of the images that the network `name` takes.

    Example:
        >>> input_shape("wide_resnet")
        (32, 32, 3)
    """
    one_of("name", name, names())
    return _INPUT_SHAPES[name]


def _initializers(keras: Any, seed: int | None) -> Iterator[Any]:
    """Yield one Glorot initializer for each layer, so that no two layers share their random numbers."""
    for index in itertools.count():
        yield keras.initializers.GlorotUniform(seed=None if seed is None else seed * 1000 + index)


def digits_cnn(keras: Any, initializers: Iterator[Any], classes: int = 10, width: int = 16) -> Any:
    """Two 3x3 convolutions (the second with stride 2) and two dense layers for the 8x8 digits."""
    layers = keras.layers

    images = keras.Input(_INPUT_SHAPES["digits_cnn"], name="images")
    x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer=next(initializers), name="conv1")(
        images
    )
    x = layers.Conv2D(
        2 * width,
        3,
        strides=2,
        padding="same",
        activation="relu",
        kernel_initializer=next(initializers),
        name="conv2",
    )(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4 * width, activation="relu", kernel_initializer=next(initializers), name="dense1")(x)
    logits = layers.Dense(classes, kernel_initializer=next(initializers), name="logits")(x)
    return keras.Model(images, logits, name="digits_cnn")


def mnist_cnn(keras: Any, initializers: Iterator[Any], classes: int = 10) -> Any:
    """Four layers for MNIST: 16 and 32 filters of 4x4 with stride 2, then 100 and `classes` units."""
    layers = keras.layers

    x = images = keras.Input(_INPUT_SHAPES["mnist_cnn"], name="images")
    for index, filters in enumerate((16, 32), start=1):
        x = layers.Conv2D(
            filters,
            4,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer=next(initializers),
            name=f"conv{index}",
        )(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(100, activation="relu", kernel_initializer=next(initializers), name="dense1")(x)
    logits = layers.Dense(classes, kernel_initializer=next(initializers), name="logits")(x)
    return keras.Model(images, logits, name="mnist_cnn")


def mnist_cnn_madry(keras: Any, initializers: Iterator[Any], classes: int = 10) -> Any:
    """The network of Madry et al. (2018): 32 and 64 filters of 5x5 with 2x2 pooling, then 1024 units."""
    layers = keras.layers

    x = images = keras.Input(_INPUT_SHAPES["mnist_cnn_madry"], name="images")
    for index, filters in enumerate((32, 64), start=1):
        x = layers.Conv2D(
            filters,
            5,
            padding="same",
            activation="relu",
            kernel_initializer=next(initializers),
            name=f"conv{index}",
        )(x)
        x = layers.MaxPooling2D(name=f"pool{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1024, activation="relu", kernel_initializer=next(initializers), name="dense1")(x)
    logits = layers.Dense(classes, kernel_initializer=next(initializers), name="logits")(x)
    return keras.Model(images, logits, name="mnist_cnn_madry")


def mnist_separable(keras: Any, initializers: Iterator[Any], classes: int = 10) -> Any:
    """A convolution and four depthwise separable ones, normalised as in MobileNet (Howard et al. 2017), for MNIST."""
    layers = keras.layers

    images = keras.Input(_INPUT_SHAPES["mnist_separable"], name="images")
    x = _convolution(keras, 32, next(initializers), "conv1", stride=2)(images)
    x = _normalise_and_activate(keras, x, "conv1")
    for index, (filters, stride) in enumerate(((64, 1), (128, 2), (128, 1), (256, 2)), start=1):
        x = layers.DepthwiseConv2D(
            3,
            strides=stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=next(initializers),
            name=f"depthwise{index}",
        )(x)
        x = _normalise_and_activate(keras, x, f"depthwise{index}")
        x = _convolution(keras, filters, next(initializers), f"pointwise{index}", size=1)(x)
        x = _normalise_and_activate(keras, x, f"pointwise{index}")
    x = layers.Flatten(name="flatten")(x)
    logits = layers.Dense(classes, kernel_initializer=next(initializers), name="logits")(x)
    return keras.Model(images, logits, name="mnist_separable")


def wide_resnet(keras: Any, initializers: Iterator[Any], classes: int = 10, width: int = 10) -> Any:
    """Wide residual network of 32 weight layers for 32x32 colour images.

    31 convolutions of 3x3 (one at the input, then three groups of five pre-activation blocks of two) and one dense
    layer: 1 + 3 * 5 * 2 + 1 = 32, the depth in the paper. The groups have 16, 32 and 64 times `width` filters, the
    first convolution 16. Where a block changes the shape, its shortcut is average pooling and added zero channels,
    which has no weights; so 32 is also the number of kernels. `width` 10 has 45.9 million weights.
    """
    layers = keras.layers

    images = keras.Input(_INPUT_SHAPES["wide_resnet"], name="images")
    x = _convolution(keras, 16, next(initializers), "conv1")(images)
    for group, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for block in range(1, 6):
            stride = 2 if group > 1 and block == 1 else 1
            x = _residual_block(keras, x, filters, stride, initializers, f"group{group}_block{block}")
    x = _normalise_and_activate(keras, x, "final")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(classes, kernel_initializer=next(initializers), name="logits")(x)
    return keras.Model(images, logits, name="wide_resnet")


def _residual_block(keras: Any, x: Any, filters: int, stride: int, initializers: Iterator[Any], name: str) -> Any:
    """Add two pre-activation convolutions to `x` (He et al. 2016, identity mappings)."""
    layers = keras.layers

    added = filters - x.shape[-1]
    activated = _normalise_and_activate(keras, x, f"{name}_1")
    # A block that changes the shape takes its shortcut after the activation, as the wide residual network does.
    shortcut = activated if added or stride > 1 else x
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride, name=f"{name}_pool")(shortcut)
    if added:
        zeros = (added // 2, added - added // 2)
        # "channels_first" makes the layer pad the last two axes: here the width, by nothing, and the channels.
        shortcut = layers.ZeroPadding2D(((0, 0), zeros), data_format="channels_first", name=f"{name}_zero_channels")(
            shortcut
        )
    x = _convolution(keras, filters, next(initializers), f"{name}_conv1", stride)(activated)
    x = _normalise_and_activate(keras, x, f"{name}_2")
    x = _convolution(keras, filters, next(initializers), f"{name}_conv2")(x)
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _normalise_and_activate(keras: Any, x: Any, name: str) -> Any:
    layers = keras.layers

    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _convolution(keras: Any, filters: int, initializer: Any, name: str, stride: int = 1, size: int = 3) -> Any:
    layers = keras.layers

    # Batch normalisation follows, so a bias would have no effect.
    return layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer=initializer, name=name
    )


_REGISTRY: dict[str, Callable[..., Any]] = {
    "digits_cnn": digits_cnn,
    "mnist_cnn": mnist_cnn,
    "mnist_cnn_madry": mnist_cnn_madry,
    "mnist_separable": mnist_separable,
    "wide_resnet": wide_resnet,
}
_INPUT_SHAPES = {
    "digits_cnn": (8, 8, 1),
    "mnist_cnn": (28, 28, 1),
    "mnist_cnn_madry": (28, 28, 1),
    "mnist_separable": (28, 28, 1),
    "wide_resnet": (32, 32, 3),
}
