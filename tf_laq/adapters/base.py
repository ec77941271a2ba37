"""From a float Keras model to a quantized one and back, and to its logits: what both versions of Keras have in common.

The given model is never changed.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tf_laq.adapters import kernels
from tf_laq.adapters.kernels import LayerKinds
from tf_laq.errors import InputError
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

Weights = Mapping[str, Quantizer]
"""Attribute path of a weight in its layer -> quantizer."""

Convert = Callable[[str, Any], tuple[Any, Any]]
"""From the path of a layer and the layer to the layer for the new model, and the part of it that gets the weights."""


class Adapter(abc.ABC):
    """What tf_laq does with the models of a version of Keras; a subclass says how that copies and wraps layers.

    Attributes:
        keras: The module `tf_keras` or `keras`.
        wrapper: The class of layers that run their attribute `layer` with quantized weights.
        wrappers: All classes that compute with quantized weights.
    """

    keras: ClassVar[Any]
    wrapper: ClassVar[type[Any]]
    wrappers: ClassVar[tuple[type[Any], ...]]

    @property
    def kinds(self) -> LayerKinds:
        """The layers of this version of Keras."""
        return LayerKinds(self.keras)

    @abc.abstractmethod
    def is_functional(self, model: Any) -> bool:
        """Return whether a model is a functional one."""

    @abc.abstractmethod
    def duplicate(self, layer: Any, **changes: Any) -> Any:
        """Return a new layer with the layer's configuration, or a changed one, and fresh weights."""

    @abc.abstractmethod
    def copy_weights(self, source: Any, target: Any) -> None:
        """Give a layer the weights of another one of the same kind."""

    @abc.abstractmethod
    def copy_whole(self, model: Any) -> Any:
        """Return a copy of a subclassed model with its weights; it may raise anything."""

    @abc.abstractmethod
    def wrap_whole(self, model: Any, weights: Weights) -> Any:
        """Return a trainable copy of a subclassed model that computes with quantized weights, or refuse it."""

    @abc.abstractmethod
    def wrap_layer(self, layer: Any, weights: Weights, **options: Any) -> Any:
        """Return a wrapper that runs a layer with quantized weights; the options are arguments of a Keras layer."""

    @abc.abstractmethod
    def wrapped_weights(self, wrapper: Any) -> Weights:
        """Return the quantized weights of the layer in a wrapper."""

    @abc.abstractmethod
    def known_input_shape(self, model: Any) -> Any:
        """Return what Keras knows of a model's input shape, or None."""

    def find_weights(self, model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
        """Return the weight tensors that can be quantized, and the layers left alone with the reasons.

        Raises:
            InputError: The model is not built, is quantized already, or has NaN or infinite weights.
        """
        if self.is_wrapped(model):
            raise InputError(
                "model",
                expected="a float model",
                received=f"{type(model).__name__} {model.name!r}, which laq.apply quantized",
                remedy="Take it back to plain layers with laq.strip(model).",
            )
        return self.kinds.find_weights(model)

    def variables(self, model: Any) -> dict[tuple[str, str], Any]:
        """Return the Keras variable of every weight that can be quantized, by layer path and weight path."""
        return self.kinds.variables(model)

    def quantized_weights(self, model: Any) -> dict[tuple[str, str], Quantizer]:
        """Return layer path and weight path -> quantizer, for all weights that a wrapped model quantizes."""
        found: dict[tuple[str, str], Quantizer] = {}
        for path, layer in self.kinds.walk(model):
            if isinstance(layer, self.wrapper):
                inner = f"{path.removesuffix(layer.name)}{layer.layer.name}"
                found |= self.kinds.by_name(inner, layer.layer, self.wrapped_weights(layer))
        return found

    def wrap(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a trainable model that computes with quantized weights.

        The layers of a Sequential or functional model are wrapped one by one, a subclassed model as a whole.

        Raises:
            InputError: The plan is for another model, or a subclassed model cannot be wrapped.
        """
        settings = self.kinds.settings(model, plan)
        if not self._is_graph(model):
            return self.wrap_whole(model, self._weights_in("", model, settings))

        def wrapped(path: str, layer: Any) -> tuple[Any, Any]:
            inner, weights = self._copy(layer), self._weights_in(path, layer, settings)
            return (self.wrap_layer(inner, weights) if weights else inner), inner

        return self._rebuild(model, wrapped)

    def bake(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a plain model of the same architecture with quantized values as weights.

        Raises:
            InputError: The plan is for another model, or a subclassed model cannot be copied.
        """
        settings = self.kinds.settings(model, plan)
        if self._is_graph(model):
            return self._rebuild_plain(model, lambda path, layer: self._weights_in(path, layer, settings))
        twin = self.copy_subclassed(model)
        quantize_weights(twin, self._weights_in("", model, settings))
        return twin

    def check_plan(self, model: Any, plan: QuantizationPlan) -> None:
        """Raise an `InputError` if a plan is for another model."""
        self.kinds.settings(model, plan)

    def is_wrapped(self, model: Any) -> bool:
        """Return whether a model, or any part of it, computes with quantized weights."""
        return any(isinstance(part, self.wrappers) for part in model._flatten_layers())

    def strip(self, model: Any) -> Any:
        """Return a wrapped model as a plain one with quantized values as weights; its outputs are the same bits.

        Raises:
            InputError: The model has no wrapped layer.
        """
        self._check_wrapped(model)
        return self._rebuild_plain(
            model, lambda path, layer: self.wrapped_weights(layer) if isinstance(layer, self.wrapper) else {}
        )

    def float_twin(self, model: Any) -> Any:
        """Return the float network underneath a wrapped model: a plain model of the same layers and variables.

        Raises:
            InputError: The model has no wrapped layer.
        """
        self._check_wrapped(model)

        def inner(path: str, layer: Any) -> tuple[Any, Any]:
            plain = layer.layer if isinstance(layer, self.wrapper) else layer
            return plain, plain

        return self._rebuild(model, inner)

    def logits(self, model: Any) -> Callable[[Any], Any]:
        """Return the model as a function from images to logits in inference mode.

        A softmax at the end of a Sequential or functional model is taken off, on a copy.

        Raises:
            InputError: The model has several outputs.
        """
        head = self._without_softmax(model) if self._is_graph(model) else model

        def images_to_logits(images: Any) -> Any:
            return head(images, training=False)

        return images_to_logits

    def input_shape(self, model: Any) -> tuple[int | None, ...]:
        """Return the shape of the model's input, its first axis (None) the batch.

        Raises:
            InputError: The model has several inputs, or was never called or built with a shape.
        """
        shape = self.known_input_shape(model)
        if shape is None or isinstance(shape, (list, dict)) or not isinstance(shape[0], (int, type(None))):
            raise InputError(
                "model",
                expected="one input of known shape",
                received=f"input shape {shape}",
                remedy="Build the model, with one input.",
            )
        return (None, *shape[1:])

    def is_subclassed(self, layer: Any) -> bool:
        """Return whether a layer is a subclassed model: it is copied and wrapped as a whole."""
        return isinstance(layer, self.keras.Model) and not self._is_graph(layer)

    def copy_subclassed(self, model: Any) -> Any:
        """Return a copy of a subclassed model with the same names.

        Raises:
            InputError: The class cannot be copied.
        """
        try:
            twin = self.copy_whole(model)
        except Exception as error:  # Keras raises whatever the user's class raises.
            reason = " ".join(str(error).split())
            raise InputError(
                "model",
                expected="a model that can be copied",
                received=f"the subclassed model {type(model).__name__}, whose copy fails with: {reason}",
                remedy="Give the class get_config and from_config, or build the model with the functional API.",
            ) from error
        self.kinds.copy_names(model, twin)
        return twin

    def _check_wrapped(self, model: Any) -> None:
        if not self.is_wrapped(model):
            raise InputError(
                "model",
                expected="a model that laq.apply(model) has wrapped",
                received=f"{type(model).__name__} {model.name!r} without a wrapped layer",
            )

    def _is_graph(self, model: Any) -> bool:
        """Return whether a model is made of a graph of layers, which can be rebuilt, or subclassed."""
        return isinstance(model, self.keras.Sequential) or self.is_functional(model)

    def _parts(self, model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Give the parts of a graph with their paths: layers, and subclassed models as a whole."""
        for layer in model.layers:
            path = f"{prefix}{layer.name}"
            if self._is_nested(layer):
                yield from self._parts(layer, f"{path}/")
            else:
                yield path, layer

    def _weights_in(self, path: str, part: Any, settings: Mapping[str, Weights]) -> Weights:
        """Return the settings for a part of a graph, or for a subclassed model of the path "", by attribute paths."""
        if not isinstance(part, self.keras.Model):
            return settings.get(path, {})
        places = self.kinds.places(part, f"{path}/" if path else "")
        return {f"{at}.{weight}": q for name, at in places for weight, q in settings.get(name, {}).items()}

    def _is_nested(self, layer: Any) -> bool:
        return isinstance(layer, self.keras.Model) and self._is_graph(layer)

    def _clone(self, model: Any, clone_layer: Callable[[Any], Any]) -> Any:
        """Return the graph of a model, nested models included, with what `clone_layer` returns for each layer."""
        nested: dict[int, Any] = {}

        # Keras 2 has no recursion of its own, and that of Keras 3 ends after one level before 3.13.
        def clone_part(layer: Any) -> Any:
            if not self._is_nested(layer):
                return clone_layer(layer)
            if id(layer) not in nested:
                nested[id(layer)] = self.keras.models.clone_model(layer, clone_function=clone_part)
            return nested[id(layer)]

        return clone_part(model)

    def _copy(self, layer: Any) -> Any:
        return self.copy_subclassed(layer) if self.is_subclassed(layer) else self.duplicate(layer)

    def _rebuild(self, model: Any, convert: Convert) -> Any:
        """Return a model of the same graph, nested models included, with every layer converted and its weights copied.

        Args:
            model: A Sequential or functional model.
            convert: Makes the copy of the layer at a path.
        """
        paths: dict[int, str] = {}
        for path, layer in self._parts(model):
            paths.setdefault(id(layer), path)
        copies: dict[int, tuple[Any, Any, Any]] = {}

        def clone_layer(layer: Any) -> Any:
            if id(layer) not in copies:
                # Operations of keras.ops are nodes of the graph too, without weights.
                path = paths.get(id(layer))
                converted = convert(path, layer) if path is not None else (self.duplicate(layer),) * 2
                copies[id(layer)] = layer, *converted
            return copies[id(layer)][1]

        twin = self._clone(model, clone_layer)
        if not twin.built:
            twin.build(model.input_shape)
        for source, _, target in copies.values():
            self.copy_weights(source.layer if isinstance(source, self.wrapper) else source, target)
        return twin

    def _rebuild_plain(self, model: Any, weights_of: Callable[[str, Any], Weights]) -> Any:
        """Return a model of the same graph without wrappers, weights of the layer at each path quantized."""
        quantized: list[tuple[Any, Weights]] = []

        def plain(path: str, layer: Any) -> tuple[Any, Any]:
            twin = self._copy(layer.layer if isinstance(layer, self.wrapper) else layer)
            quantized.append((twin, weights_of(path, layer)))
            return twin, twin

        rebuilt = self._rebuild(model, plain)
        for layer, weights in quantized:
            quantize_weights(layer, weights)
        return rebuilt

    def _without_softmax(self, model: Any) -> Any:
        if not model.built:
            received, remedy = "one without weights", "Build it first."
            raise InputError("model", expected="a built model", received=received, remedy=remedy)
        if len(model.outputs) != 1:
            raise InputError("model", expected="one output, the logits", received=f"{len(model.outputs)} outputs")
        sequential = isinstance(model, self.keras.Sequential)
        last = model.layers[-1] if sequential else model.outputs[0]._keras_history[0]
        if not self._is_softmax(last.layer if isinstance(last, self.wrapper) else last):
            return model

        def linear_at_the_end(path: str, layer: Any) -> tuple[Any, Any]:
            copied = self._linear if layer is last else self._copy
            if isinstance(layer, self.wrapper):
                inner = copied(layer.layer)
                return self.wrap_layer(inner, self.wrapped_weights(layer), name=layer.name), inner
            twin = copied(layer)
            return twin, twin

        return self._rebuild(model, linear_at_the_end)

    def _is_softmax(self, layer: Any) -> bool:
        activation = getattr(layer, "activation", None)
        return isinstance(layer, self.keras.layers.Softmax) or activation is self.keras.activations.softmax

    def _linear(self, layer: Any) -> Any:
        if isinstance(layer, self.keras.layers.Softmax):
            return self.keras.layers.Activation("linear", name=layer.name)
        return self.duplicate(layer, activation="linear")


def quantize_weights(layer: Any, weights: Weights) -> None:
    """Put weights of a layer through their quantizers."""
    for path, quantizer in weights.items():
        variable = kernels.attribute(layer, path)
        values = quantizer.quantize(kernels.values(layer, path))
        variable.assign(values.astype(tf.as_dtype(variable.dtype).as_numpy_dtype))
