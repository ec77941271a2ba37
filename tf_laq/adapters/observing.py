"""What a layer of a model receives and returns, which neither version of Keras has a hook for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def observed(
    layer: Any, receives: Callable[[Any], Any] | None = None, returns: Callable[[Any], Any] | None = None
) -> Iterator[None]:
    """Show the first argument of every call of a layer to `receives` before it, the result to `returns` after it."""
    call = layer.call

    def shown(*args: Any, **kwargs: Any) -> Any:
        if receives is not None:
            receives(next(iter((*args, *kwargs.values()))))
        result = call(*args, **kwargs)
        if returns is not None:
            returns(result)
        return result

    # Past what Keras does where an attribute is set.
    vars(layer)["call"] = shown
    try:
        yield
    finally:
        del vars(layer)["call"]


def before_activation(layer: Any, inputs: Any) -> Any:
    """Return what a layer gives to its activation; observers do not see this call."""
    activation = layer.activation
    layer.activation = tf.identity
    try:
        return type(layer).call(layer, inputs)
    finally:
        layer.activation = activation
