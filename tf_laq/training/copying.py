"""Networks to train: copies of those that are given, and what they must output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal.validation import check_logits
from tf_laq.adapters import adapter_of, carry, keras_module, keras_version, plan_of
from tf_laq.attacks.base import Logits
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError

_CHECKED = 8


def images_to_logits(model: Any, dataset: Dataset) -> Logits:
    """Return a Keras model as a function from images to float32 logits in inference mode.

    Raises:
        InputError: It is no Keras model, or does not give logits of the data set's classes.
    """
    keras_version(model)

    def logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    outputs = np.asarray(logits(tf.constant(dataset.train.images[:_CHECKED])))
    check_logits(outputs, dataset.train.labels[:_CHECKED])
    if outputs.shape[1] != len(dataset.classes):
        expected = f"logits of {len(dataset.classes)} classes"
        raise InputError("model", expected=expected, received=f"{outputs.shape[1]} outputs")
    return logits


def copy_of(model: Any, clone_function: Callable[[Any], Any] | None = None) -> Any:
    """Return a Keras model of the same layers and weights, with nothing shared.

    Args:
        model: A built Sequential or functional model.
        clone_function: From a layer to the one in its place, as for Keras's own `clone_model`.

    Raises:
        InputError: Keras cannot clone the model: it is subclassed, or not built.
    """
    if clone_function is None:
        return carry(adapter_of(model).copy(model), plan_of(model))
    keras = keras_module(keras_version(model))
    try:
        copied = keras.models.clone_model(model, clone_function=clone_function)
        copied.set_weights(model.get_weights())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            "model",
            expected="a built Sequential or functional model, which can be copied",
            received=f"{type(model).__name__} {model.name!r}, whose copy fails with: {' '.join(str(error).split())}",
        ) from error
    return carry(copied, plan_of(model))


def with_precision(model: Any, precision: str) -> Any:
    """Return a copy of a network that computes in `precision`, "float32" or "mixed_bfloat16", but for its logits."""
    if precision == "float32":
        return copy_of(model)

    def copy(layer: Any) -> Any:
        dtype = "float32" if layer is model.layers[-1] else precision
        return type(layer).from_config({**layer.get_config(), "dtype": dtype})

    return copy_of(model, copy)
