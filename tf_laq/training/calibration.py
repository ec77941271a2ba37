"""Batch normalisation statistics of a quantized network."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tf_laq._internal.validation import checked_images, whole
from tf_laq.adapters import keras_module, keras_version
from tf_laq.errors import InputError
from tf_laq.training.networks import copy_of
from tf_laq.training.observing import Moments, before_each_call, in_call_order, run


def recalibrate_batch_norm(model: Any, images: npt.ArrayLike, *, batch_size: int = 256) -> Any:
    """Return a network whose batch normalisation has the statistics of the values that it normalises.

    Quantized kernels give other activations than those that the moving averages were taken from. Here each
    normalisation gets, in the order in which a call reaches them, the population mean and variance of its inputs over
    all images, with those before it already renewed. Nothing is trained, and no labels are needed.

    **The statistics of an adversarially trained network are those of adversarial examples.** Clean images in their
    place took a 3.5-bit MNIST network from 92.7 to 0.0 % under Auto-PGD and Square (N = 300), with the same clean
    accuracy; PGD examples made on the float network left it at 92.7 %.

    Args:
        model: A built Sequential or functional model, plain, baked or wrapped; it stays as it is.
        images: Float images in [0, 1] (n, height, width, channels), of the kind that the network was trained on: of an
            adversarially trained one, adversarial images.
        batch_size: Images in a call; the statistics do not depend on it.

    Raises:
        InputError: The model has no batch normalisation or cannot be copied, or an argument is wrong.

    Example:
        >>> import numpy as np
        >>> import tf_keras
        >>> model = tf_keras.Sequential([tf_keras.Input((1, 1, 1)), tf_keras.layers.BatchNormalization()])
        >>> images = np.array([0.25, 0.75]).reshape(2, 1, 1, 1)
        >>> [value.item() for value in recalibrate_batch_norm(model, images).get_weights()[2:]]
        [0.5, 0.0625]
    """
    images = checked_images(images)
    whole("batch_size", batch_size)
    keras = keras_module(keras_version(model))
    if not _normalisations(keras, model):
        raise InputError(
            "model",
            expected="a model with batch normalisation",
            received=f"{type(model).__name__} {model.name!r} without a layer of {keras.__name__}'s BatchNormalization",
        )
    twin = copy_of(model)

    for layer in in_call_order(_normalisations(keras, twin), twin, images[:1]):
        moments = Moments(layer.axis)
        with before_each_call(layer, moments.add):
            run(twin, images, batch_size)
        for variable, value in ((layer.moving_mean, moments.mean), (layer.moving_variance, moments.variance)):
            variable.assign(value.reshape(variable.shape))
    return twin


def _normalisations(keras: Any, model: Any) -> list[Any]:
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
