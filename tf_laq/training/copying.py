"""Networks to train: copies of those that are given, and what they must output."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import check_logits
from tf_laq.adapters import adapter_of, carry, keras_version, plan_of
from tf_laq.adapters.reaching import takes_bytes
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError

_CHECKED, _COMPARED = 8, 4


def check_gives_logits(model: Any, dataset: Dataset) -> None:
    """Refuse what cannot be trained on a data set.

    Raises:
        InputError: It is no Keras model, does not take the data set's images, or does not give logits of its classes;
            or the data set has no training images.
    """
    keras_version(model)
    if not len(dataset.train):
        raise InputError(f"data set {dataset.name}", expected="training images", received="none")
    images = tf.constant(dataset.train.images[:_CHECKED])
    _check_inputs(model, tuple(images.shape[1:]))
    try:
        outputs = np.asarray(tf.cast(model(images, training=False), tf.float32))
    except (TypeError, ValueError, tf.errors.OpError) as error:  # Of a model that does not say what it takes.
        expected = f"a model of images of shape {tuple(images.shape[1:])} with one output"
        received = f"an error from it: {str(error).splitlines()[0]}"
        raise InputError("model", expected=expected, received=received) from error
    if outputs.ndim == 2 and outputs.shape[1] != len(dataset.classes):
        expected = f"logits of {len(dataset.classes)} classes"
        raise InputError("model", expected=expected, received=f"{outputs.shape[1]} outputs")
    check_logits(outputs, dataset.train.labels[:_CHECKED])


def first_outputs(model: Any, dataset: Dataset) -> npt.NDArray[np.float32]:
    """Return the outputs for the first training images, which tell networks of the same weights apart."""
    images = tf.constant(dataset.train.images[:_COMPARED])
    return np.asarray(tf.cast(model(images, training=False), tf.float32))


def _check_inputs(model: Any, shape: tuple[int, ...]) -> None:
    """Refuse a model that takes images of another shape or range."""
    taken = adapter_of(model).known_input_shape(model)
    sides = taken[1:] if isinstance(taken, tuple) else shape
    if len(sides) != len(shape) or any(side not in (None, given) for side, given in zip(sides, shape, strict=True)):
        raise InputError(
            "model",
            expected=f"a model of images of shape {shape}",
            received=f"one of shape {sides}",
            remedy="A size resizes the images when they are loaded.",
        )
    if takes_bytes(model):
        raise InputError(
            "model",
            expected="a model of images in [0, 1]",
            received="one whose first layer, a Rescaling, takes [0, 255]",
            remedy="Let the layer scale from [0, 1], as Rescaling(2.0, -1.0) does to [-1, 1].",
        )


def copy_of(model: Any) -> Any:
    """Return a Keras model of the same layers and weights, with nothing shared.

    Raises:
        InputError: The model cannot be copied.
    """
    return carry(adapter_of(model).copy(model), plan_of(model))


def with_precision(model: Any, precision: str) -> Any:
    """Return a copy of a network that computes in `precision`, "float32" or "mixed_bfloat16", but for its logits.

    Raises:
        InputError: The model cannot be copied.
    """
    if precision == "float32":
        return copy_of(model)
    last = model.layers[-1]
    while getattr(last, "layers", None):
        last = last.layers[-1]

    def config_of(layer: Any) -> dict[str, Any]:
        config: dict[str, Any] = layer.get_config()
        return {**config, "dtype": "float32" if layer is last else precision} if "dtype" in config else config

    return carry(adapter_of(model).rebuilt(model, config_of), plan_of(model))
