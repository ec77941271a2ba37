"""Running a model as its file will: in float32, and every example from the initial state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tf_laq.adapters.copying import values_kept
from tf_laq.adapters.dispatch import adapter_of
from tf_laq.errors import InputError

_FLOAT32 = "float32"


def other_precision(model: Any) -> str | None:
    """Return the least precise dtype other than float32 that layers of a model compute in, or None."""
    found = {layer.compute_dtype for layer in _layers_in_other_precision(model)}
    return next((dtype for dtype in ("bfloat16", "float16", "float64") if dtype in found), None)


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Let all layers of a model compute in float32, whatever their dtype policies say; the weights stay as they are.

    Raises:
        InputError: A layer's variables cannot be read as float32.
    """
    changed = [(layer, layer.dtype_policy) for layer in _layers_in_other_precision(model)]
    for layer, policy in changed:
        _check_float32_variables(model, layer, policy)
    try:
        for layer, policy in changed:
            _set_policy(layer, _computing_in_float32(layer, policy))
        yield
    finally:
        for layer, policy in changed:
            _set_policy(layer, policy)


def _layers_in_other_precision(model: Any) -> list[Any]:
    return [
        layer
        for layer in model._flatten_layers()
        if layer.compute_dtype and tf.as_dtype(layer.compute_dtype).is_floating and layer.compute_dtype != _FLOAT32
    ]


def _check_float32_variables(model: Any, layer: Any, policy: Any) -> None:
    # Keras 3 casts a variable of any width when it is read, Keras 2 those of mixed policies only.
    casts = not hasattr(layer, "_set_dtype_policy")
    if not casts and policy.variable_dtype != _FLOAT32 and layer.weights and not hasattr(layer, "layers"):
        raise InputError(
            f"layer {layer.name!r} of model {model.name!r}",
            expected="float32 variables, as under the dtype policies float32, mixed_float16 and mixed_bfloat16",
            received=f"the dtype policy {policy.name}",
            remedy="Build the model again with dtype float32, and give it the weights: "
            "twin.set_weights([w.astype('float32') for w in model.get_weights()]).",
        )


def _computing_in_float32(layer: Any, policy: Any) -> Any:
    """Return the dtype policy of a layer that computes in float32 on variables of the given policy."""
    if hasattr(layer, "_set_dtype_policy"):
        return _FLOAT32
    found = type(policy)(_FLOAT32)
    # Keras 3 casts variables only where their dtype is another one than that of the computation.
    found._variable_dtype = policy.variable_dtype
    return found


def _set_policy(layer: Any, policy: Any) -> None:
    if hasattr(layer, "_set_dtype_policy"):
        layer._set_dtype_policy(policy)
    else:
        layer.dtype_policy = policy


@contextlib.contextmanager
def without_state(model: Any) -> Iterator[None]:
    """Let the recurrent layers of a model start from their initial state in every call, and keep nothing."""
    stateful = _stateful_layers(model)
    try:
        for layer in stateful:
            layer.stateful = False
        yield
    finally:
        for layer in stateful:
            layer.stateful = True


@contextlib.contextmanager
def initial_state(model: Any) -> Iterator[None]:
    """Reset the states of a model's recurrent layers for a call, and bring back those of before."""
    with values_kept(model):
        for layer in _stateful_layers(model):
            (getattr(layer, "reset_state", None) or layer.reset_states)()
        yield


def _stateful_layers(model: Any) -> list[Any]:
    recurrent = adapter_of(model).keras.layers.RNN
    return [layer for layer in model._flatten_layers() if isinstance(layer, recurrent) and layer.stateful]
