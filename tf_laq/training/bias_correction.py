"""Biases that undo what quantized kernels do to the mean of a layer's outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import checked_images, whole
from tf_laq.adapters import keras_module, keras_version
from tf_laq.adapters.kernels import LayerKinds
from tf_laq.errors import InputError
from tf_laq.training.networks import copy_of
from tf_laq.training.observing import Moments, Values, before_each_call, in_call_order, run


def correct_biases(model: Any, float_twin: Any, images: npt.ArrayLike, *, batch_size: int = 256) -> Any:
    """Return a quantized model whose layers have, before their activations, the means of its float twin's.

        b' = b + E[z] - E[z_q]

    z are the outputs of a layer before its activation in the float twin, per channel, and z_q those in the quantized
    model, with the layers before it corrected already; the means are over all images and places. Layers are all that
    have a kernel, a bias and an activation of their own: dense and convolutional ones. Where a normalisation takes the
    place of the bias, `recalibrate_batch_norm` does the same. Nothing is trained, no labels are needed, and the kernels
    stay on their grid.

    Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2,
    with the means measured on images.

    Args:
        model: A Sequential or functional model, baked or stripped; it stays as it is.
        float_twin: The full-precision model that it was made from.
        images: Float images in [0, 1] (n, height, width, channels), of the kind that the model was trained on.
        batch_size: Images in a call; the means do not depend on it.

    Raises:
        InputError: The models have other layers, or none with a bias, or cannot be copied; or an argument is wrong.

    Example:
        >>> import tf_keras
        >>> import tf_laq as laq
        >>> model = tf_keras.Sequential([tf_keras.Input((1, 1, 2)), tf_keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[0.5], [0.75]]), np.zeros(1)])
        >>> quantized = laq.bake(model, laq.uniform(model, "log", 2))
        >>> kernel, bias = correct_biases(quantized, model, np.ones((4, 1, 1, 2))).get_weights()
        >>> kernel.ravel().tolist(), bias.tolist()
        ([0.0, 1.0], [0.25])
    """
    images = checked_images(images)
    whole("batch_size", batch_size)
    wanted_layers = _layers_with_bias(float_twin)
    if not wanted_layers:
        received = f"{type(float_twin).__name__} {float_twin.name!r}, in which no layer with a kernel has a bias"
        raise InputError("float_twin", expected="dense or convolutional layers with a bias", received=received)
    corrected = copy_of(model)
    layers = _layers_with_bias(corrected)
    for path in wanted_layers.keys() ^ layers.keys():
        received = f"a layer with a bias at {path!r} in one of them"
        raise InputError("model", expected="the layers of its float twin", received=received)

    wanted = _means(list(wanted_layers.values()), float_twin, images, batch_size)
    place_of = {id(layers[path]): place for place, path in enumerate(wanted_layers)}
    for layer in in_call_order(list(layers.values()), corrected, images[:1]):
        (mean,) = _means([layer], corrected, images, batch_size)
        shift = (wanted[place_of[id(layer)]] - mean).astype(np.float32)
        layer.bias.assign(np.asarray(layer.bias) + shift)
    return corrected


def _layers_with_bias(model: Any) -> dict[str, Any]:
    """Return, by path, the layers with a kernel that can be quantized, a bias per channel, and an activation."""
    kinds = LayerKinds(keras_module(keras_version(model)))
    return {
        path: layer
        for path, layer in kinds.walk(model)
        if kinds.kernels_of(layer) and _is_vector(getattr(layer, "bias", None)) and hasattr(layer, "activation")
    }


def _is_vector(bias: Any) -> bool:
    return bias is not None and len(bias.shape) == 1


def _means(layers: list[Any], model: Any, images: npt.NDArray[np.float32], batch_size: int) -> list[Values]:
    """Return for each layer the mean of its outputs before the activation, per channel, over all images."""
    moments = [Moments(_channels(layer)) for layer in layers]

    def adding(layer: Any, found: Moments) -> Callable[[Any], None]:
        return lambda inputs: found.add(_before_activation(layer, inputs))

    with contextlib.ExitStack() as stack:
        for layer, found in zip(layers, moments, strict=True):
            stack.enter_context(before_each_call(layer, adding(layer, found)))
        run(model, images, batch_size)
    return [found.mean for found in moments]


def _channels(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _before_activation(layer: Any, inputs: Any) -> Any:
    activation = layer.activation
    layer.activation = tf.identity
    try:
        return type(layer).call(layer, inputs)
    finally:
        layer.activation = activation
