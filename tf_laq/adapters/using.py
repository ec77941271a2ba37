"""Whether a model computes with the weights of a plan as they are: quantizing others would change nothing, unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq.adapters.copying import probe, values_kept
from tf_laq.adapters.kernels import has_keras_call, tensorflow_variable, value_of
from tf_laq.errors import InputError
from tf_laq.quantizers import Quantizer

Key = tuple[str, str]
"""Layer path and weight path."""


def check_used(model: Any, variables: Mapping[Key, Any], quantizers: Mapping[Key, Quantizer]) -> None:
    """Raise an `InputError` if a call of a model does not compute with one of the weights that are to be quantized.

    Args:
        model: A built float model; it is called on a probe, if its input is known.
        variables: The Keras variables of its weights.
        quantizers: The quantizers of those that a plan quantizes.

    Raises:
        InputError: The model assigns one of these weights itself when it is called, or gives the same outputs whether
            that weight is quantized or not.
    """
    inputs = probe(model)
    planned = {key: variables[key] for key in quantizers}
    if inputs is None or not planned:
        return
    with values_kept(model):
        firsts = {key: _exchange_first(variable, 1.0) for key, variable in planned.items()}
        without_gradient = _without_gradient(model, inputs, planned)
        assigned = [key for key, variable in planned.items() if _exchange_first(variable, firsts[key]) != 1.0]
        if assigned:
            received = "one that its layer assigns itself, so that quantized values would be lost"
            raise _refusal(assigned[0], "a weight that stays as it is when the model is called", received)
        # What is rounded or looked up has no gradient either, but changes the outputs.
        for key in without_gradient:
            if not _changes_outputs(model, inputs, planned[key], quantizers[key]):
                received = "one that may be quantized without any change of them"
                raise _refusal(key, "a weight that the outputs of the model depend on", received)


def check_gradients(model: Any, wrapped: Any, planned: Mapping[Key, Any]) -> None:
    """Raise an `InputError` if a weight that the float model can train is cut off from the gradient once it is wrapped.

    Layers of Keras' own are not; those of users may compute through `tf.recompute_grad` or `tf.custom_gradient`, which
    see variables and not the tensors in their places.

    Args:
        model: The float model.
        wrapped: The same with quantized weights, on the same variables.
        planned: The Keras variables of the weights that are quantized.

    Raises:
        InputError: There is such a weight.
    """
    inputs = probe(model)
    if inputs is None or all(map(has_keras_call, model._flatten_layers())):
        return
    with values_kept(model):
        lost = set(_without_gradient(wrapped, inputs, planned)) - set(_without_gradient(model, inputs, planned))
    if lost:
        layer, weight = min(lost)
        raise InputError(
            f"layer {layer!r}, weight {weight!r}",
            expected="a weight that a training reaches when it is quantized",
            received="one without a gradient, as behind tf.recompute_grad or tf.custom_gradient",
            remedy="Take that out of the layer, or use laq.bake, which makes a model without training.",
        )


def check_not_traced(model: Any) -> None:
    """Refuse layers whose call is a tf.function: what it was traced with stays in it, whatever the weights are then.

    Raises:
        InputError: There is one.
    """
    for part in model._flatten_layers():
        if isinstance(getattr(type(part), "call", None), tf.types.experimental.PolymorphicFunction):
            raise InputError(
                f"layer {part.name!r} ({type(part).__name__})",
                expected="a call that runs with the weights of the moment",
                received="one that is a tf.function, which keeps those that it was traced with",
                remedy="Remove the decorator @tf.function from its call: Keras compiles the model anyway.",
            )


def _refusal(key: Key, expected: str, received: str) -> InputError:
    layer, weight = key
    remedy = f'Leave it in float32: laq.search(model, overrides={{{layer!r}: "float32"}}).'
    return InputError(f"layer {layer!r}, weight {weight!r}", expected=expected, received=received, remedy=remedy)


def _without_gradient(model: Any, inputs: Any, planned: Mapping[Key, Any]) -> list[Key]:
    """Return the weights that no gradient of the outputs leads to; none if the model does not take the inputs."""
    watched = [tensorflow_variable(variable) for variable in planned.values()]
    try:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            outputs = [output for output in tf.nest.flatten(model(inputs, training=False)) if output.dtype.is_floating]
        gradients = tape.gradient(outputs, watched)
    except Exception:  # The inputs may not be of the kind that the model takes.
        return []
    return [key for key, gradient in zip(planned, gradients, strict=True) if gradient is None]


def _changes_outputs(model: Any, inputs: Any, variable: Any, quantizer: Quantizer) -> bool:
    """Return whether quantizing a weight changes the outputs, as it should unless it changes no value."""
    values = value_of(variable)
    quantized = quantizer.quantize(values).astype(values.dtype)
    if np.array_equal(quantized, values):
        return True
    expected = [np.asarray(output) for output in tf.nest.flatten(model(inputs, training=False))]
    variable.assign(quantized)
    try:
        found = [np.asarray(output) for output in tf.nest.flatten(model(inputs, training=False))]
    finally:
        variable.assign(values)
    return any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(expected, found, strict=True))


def _exchange_first(variable: Any, value: float) -> float:
    """Put a value in the place of a variable's first one, and return that."""
    held = tensorflow_variable(variable)
    place = tf.zeros([1, len(variable.shape)], tf.int32)
    first = float(tf.gather_nd(tf.convert_to_tensor(held), place)[0])
    held.scatter_nd_update(place, tf.cast([value], held.dtype))
    return first
