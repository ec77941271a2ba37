"""The softmax or sigmoid at the end of a model, left out of its calls: attacks need the logits underneath."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_laq.adapters.copying import values_kept
from tf_laq.adapters.heads import Activation
from tf_laq.adapters.reaching import steps_of

# What activation functions, operations of a graph and layers are called in both versions of Keras and TensorFlow.
_NAMES: dict[str, Activation] = {
    "softmax": "softmax",
    "softmax_v2": "softmax",
    "Softmax": "softmax",
    "sigmoid": "sigmoid",
    "Sigmoid": "sigmoid",
}
_FUNCTIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}
# By how much an activation may differ that is computed again in float32.
_TOLERANCES = {tf.float16: 1e-2, tf.bfloat16: 1e-1}
_TOLERANCE = 1e-5


class Head(NamedTuple):
    """A model up to its logits.

    Attributes:
        function: From inputs to outputs, in inference mode.
        activation: What was left out at the end; "" for nothing.
    """

    function: Callable[[Any], Any]
    activation: Activation = ""


def without_activation(model: Any, call: Callable[[Any], Any], images: Any) -> Head:
    """Return the calls of a model without the softmax or sigmoid at its end, or as they are if none is found there.

    Outputs that look like probabilities are traced to the last function or layer without which they are numbers that
    the same function turns into these outputs, wherever it is in the model. The model itself is not changed.

    Args:
        model: The Keras model.
        call: From images to the output of the model, in inference mode.
        images: Images to try it on.
    """
    with values_kept(model):
        outputs = call(images)
        given = np.asarray(tf.cast(outputs, tf.float32))
        tolerance = _TOLERANCES.get(outputs.dtype, _TOLERANCE)
        in_unit = given.size and given.min() >= 0.0 and given.max() <= 1.0
        for place, kind in _ends(model) if in_unit else ():
            without = _Without(call, *place)
            again = _FUNCTIONS[kind](tf.cast(without(images), tf.float32))
            if again.shape == given.shape and np.abs(again.numpy() - given).max() <= tolerance:
                return Head(without, kind)
    return Head(call)


def _ends(model: Any) -> Iterator[tuple[tuple[Any, str], Activation]]:
    """Give what may be the activation, from the last one on: a layer or operation with the name of its function."""
    parts = list(model._flatten_layers())
    # Operations are in no list of layers.
    parts += [step for part in parts if hasattr(part, "operations") for step in steps_of(part)]
    for part in reversed({id(part): part for part in parts}.values()):
        functions = {"activation": getattr(part, "activation", None), "call": getattr(part, "function", type(part))}
        for attribute, function in functions.items():
            kind = _NAMES.get(getattr(function, "__name__", ""), "")
            if kind:
                yield (part, attribute), kind


class _Without:
    """Calls in which a function of a layer returns what it receives."""

    def __init__(self, call: Callable[[Any], Any], layer: Any, attribute: str) -> None:
        self._call, self._layer, self._attribute = call, layer, attribute

    def __call__(self, images: Any) -> Any:
        with _Replaced(self._layer, self._attribute):
            return self._call(images)


class _Replaced:
    """A scope in which an attribute of a layer is the identity, past what Keras does where an attribute is set."""

    def __init__(self, layer: Any, attribute: str) -> None:
        self._attributes, self._name = vars(layer), attribute

    def __enter__(self) -> None:
        self._before = {name: value for name, value in self._attributes.items() if name == self._name}
        self._attributes[self._name] = _as_it_is

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._attributes[self._name]
        self._attributes.update(self._before)


def _as_it_is(inputs: Any, *args: Any, **kwargs: Any) -> Any:
    return inputs
