"""A Keras 3 model as attacks and the exporter see it: a function from images to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tf_laq.errors import InputError
from tf_laq.keras3.convert import duplicate, is_graph, rebuild
from tf_laq.keras3.wrapper import QuantizedModel, QuantizeWrapper


def logits(model: Any) -> Callable[[Any], Any]:
    """Return the model as a function from images to logits in inference mode.

    A softmax at the end of a Sequential or functional model is taken off, on a copy.

    Raises:
        InputError: The model has several outputs.
    """
    head = _without_softmax(model) if is_graph(model) else model

    def images_to_logits(images: Any) -> Any:
        return head(images, training=False)

    return images_to_logits


def input_shape(model: Any) -> tuple[int | None, ...]:
    """Return the shape of the model's input, its first axis (None) the batch.

    Raises:
        InputError: The model has several inputs, or was never called or built with a shape.
    """
    plain = model.model if isinstance(model, QuantizedModel) else model
    shape = plain.input_shape if is_graph(plain) else (plain.get_build_config() or {}).get("input_shape")
    if shape is None or isinstance(shape, (list, dict)) or not isinstance(shape[0], (int, type(None))):
        raise InputError(
            "model",
            expected="one input of known shape",
            received=f"input shape {shape}",
            remedy="Build the model.",
        )
    return (None, *shape[1:])


def _without_softmax(model: Any) -> Any:
    if not model.built:
        raise InputError("model", expected="a built model", received="one without weights", remedy="Build it first.")
    if len(model.outputs) != 1:
        raise InputError("model", expected="one output, the logits", received=f"{len(model.outputs)} outputs")
    last = model.layers[-1]
    if not isinstance(model, keras.Sequential):
        last = model.outputs[0]._keras_history.operation
    if not _is_softmax(last.layer if isinstance(last, QuantizeWrapper) else last):
        return model

    def linear_at_the_end(path: str, layer: Any) -> tuple[Any, Any]:
        if isinstance(layer, QuantizeWrapper):
            inner = _linear(layer.layer) if layer is last else duplicate(layer.layer)
            return QuantizeWrapper(inner, layer.quantized_weights, name=layer.name), inner
        twin = _linear(layer) if layer is last else duplicate(layer)
        return twin, twin

    return rebuild(model, linear_at_the_end)


def _is_softmax(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax


def _linear(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Softmax):
        return keras.layers.Activation("linear", name=layer.name)
    return duplicate(layer, activation="linear")
