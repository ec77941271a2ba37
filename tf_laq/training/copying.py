"""Copies of a network to train on, so that the one given stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_laq.adapters import keras_module, keras_version
from tf_laq.errors import InputError


def copy_of(model: Any, clone_function: Callable[[Any], Any] | None = None) -> Any:
    """Return a Keras model of the same layers and weights, with nothing shared.

    Args:
        model: A built Sequential or functional model.
        clone_function: From a layer to the one in its place, as for Keras's own `clone_model`.

    Raises:
        InputError: Keras cannot clone the model: it is subclassed, or not built.
    """
    keras = keras_module(keras_version(model))
    options = {} if clone_function is None else {"clone_function": clone_function}
    try:
        copied = keras.models.clone_model(model, **options)
        copied.set_weights(model.get_weights())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            "model",
            expected="a built Sequential or functional model, which can be copied",
            received=f"{type(model).__name__} {model.name!r}, whose copy fails with: {' '.join(str(error).split())}",
        ) from error
    return copied


def with_precision(model: Any, precision: str) -> Any:
    """Return a copy of a network that computes in `precision`, "float32" or "mixed_bfloat16", but for its logits."""
    if precision == "float32":
        return copy_of(model)

    def copy(layer: Any) -> Any:
        dtype = "float32" if layer is model.layers[-1] else precision
        return type(layer).from_config({**layer.get_config(), "dtype": dtype})

    return copy_of(model, copy)
