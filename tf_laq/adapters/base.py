"""From a float Keras model to a quantized one and back, and to its logits: what both versions of Keras have in common.

The given model is never changed.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tf_laq.adapters.activations import Head, without_activation
from tf_laq.adapters.copying import copied, probe
from tf_laq.adapters.heads import class_logits, only_output
from tf_laq.adapters.kernels import LayerKinds, attribute, has_keras_call, value_of
from tf_laq.adapters.using import Key, check_gradients, check_not_traced, check_used
from tf_laq.errors import InputError
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

Weights = Mapping[str, Quantizer]
"""Attribute path of a weight in its layer -> quantizer."""

Convert = Callable[[str, Any], Any]
"""From the path of a layer and the layer to the one in its place."""


class Adapter(abc.ABC):
    """What tf_laq does with the models of a version of Keras; a subclass says how that copies and wraps layers.

    Attributes:
        keras: The module `tf_keras` or `keras`.
        wrapper: The class of layers that run their attribute `layer` with quantized weights.
        wrappers: All classes that compute with quantized weights, each of a layer or model in its attribute `layer`.
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
    def wrap_whole(self, model: Any, weights: Weights) -> Any:
        """Return a trainable model that runs a subclassed one with quantized weights, or refuse it."""

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

    def layers(self, model: Any) -> list[Any]:
        """Return all layers of a model, those in models and layers too."""
        return list(model._flatten_layers(include_self=False))

    def variables(self, model: Any) -> dict[Key, Any]:
        """Return the Keras variable of every weight that can be quantized, by layer path and weight path."""
        return self.kinds.variables(model)

    def quantized_weights(self, model: Any) -> dict[Key, Quantizer]:
        """Return layer path and weight path -> quantizer, for all weights that a wrapped model quantizes."""
        return self._quantizers_in(model, self.float_twin(model))

    def _quantizers_in(self, model: Any, twin: Any) -> dict[Key, Quantizer]:
        """Return the quantizers of a wrapped model by the paths in its float twin."""
        found = {
            id(attribute(part.layer, path)): quantizer
            for part in model._flatten_layers()
            if isinstance(part, self.wrappers)
            for path, quantizer in self.wrapped_weights(part).items()
        }
        return {key: found[id(variable)] for key, variable in self.variables(twin).items() if id(variable) in found}

    def copy(self, model: Any) -> Any:
        """Return a copy of a model that is proved to be equal, with nothing shared.

        Raises:
            InputError: The model cannot be copied, or a layer's call is a tf.function.
        """
        check_not_traced(model)
        return copied(self.keras, model, self._made_anew)

    def wrap(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a trainable model that computes with quantized weights.

        The layers of a Sequential or functional model are wrapped one by one, a subclassed model as a whole.

        Raises:
            InputError: The plan is for another model, or the model cannot be copied or wrapped.
        """
        self.check_plan(model, plan)
        quantizers = _quantizers(plan)
        twin, variables = self._copy_to_quantize(model, quantizers)
        planned = {id(variables[key]): quantizer for key, quantizer in quantizers.items()}

        def weights_in(part: Any) -> Weights:
            # By identity: a layer may take the kernel of another one.
            variables = {path: id(attribute(part, path)) for path in self.kinds.kernels_of(part)}
            return {path: planned[variable] for path, variable in variables.items() if variable in planned}

        wrapped = self._wrapped(twin, weights_in)
        check_gradients(twin, wrapped, {key: variables[key] for key in quantizers})
        return wrapped

    def _wrapped(self, twin: Any, weights_in: Callable[[Any], Weights]) -> Any:
        """Return a model of the same layers, those with weights to quantize in wrappers."""
        if not self._is_graph(twin):
            return self.wrap_whole(twin, weights_in(twin))
        names = {part.name for part in twin._flatten_layers()}

        def in_wrapper(path: str, layer: Any) -> Any:
            weights = weights_in(layer)
            if not weights:
                return layer
            name = f"quant_{layer.name}"
            while name in names:
                name += "_"
            names.add(name)
            return self.wrap_layer(layer, weights, name=name)

        return self._rewired(twin, in_wrapper)

    def bake(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a plain model of the same architecture with quantized values as weights.

        Raises:
            InputError: The plan is for another model, or the model cannot be copied.
        """
        self.check_plan(model, plan)
        quantizers = _quantizers(plan)
        twin, variables = self._copy_to_quantize(model, quantizers)
        _quantize(variables, quantizers)
        return twin

    def check_plan(self, model: Any, plan: QuantizationPlan) -> None:
        """Raise an `InputError` if a plan is for another model."""
        self.kinds.check_plan(model, plan)

    def is_wrapped(self, model: Any) -> bool:
        """Return whether a model, or any part of it, computes with quantized weights."""
        return any(isinstance(part, self.wrappers) for part in model._flatten_layers())

    def strip(self, model: Any) -> Any:
        """Return a wrapped model as a plain one with quantized values as weights; its outputs are the same bits.

        Raises:
            InputError: The model has no wrapped layer.
        """
        with _nodes_as_they_are(model):
            twin = self.float_twin(model)
            plain = self.copy(twin)
        _quantize(self.variables(plain), self._quantizers_in(model, twin))
        return plain

    def float_twin(self, model: Any) -> Any:
        """Return the float network underneath a wrapped model: a plain model of the same layers and variables.

        Raises:
            InputError: The model has no wrapped layer.
        """
        self._check_wrapped(model)
        return self._rewired(model, self._inner)

    def logits(self, model: Any) -> Callable[[Any], Any]:
        """Return the model as a function from images to float32 logits (n, classes) in inference mode.

        A softmax or sigmoid at the end is left out where it can be found on random inputs.

        Raises:
            InputError: The model is not built, or has several outputs.
        """
        if self._has_graph(model) and not model.built:
            received, remedy = "one without weights", "Build it first."
            raise InputError("model", expected="a built model", received=received, remedy=remedy)
        outputs, inputs = self.outputs(model), probe(model)
        head = Head(outputs)
        if inputs is not None:
            try:
                head = without_activation(model, outputs, inputs)
            except InputError:
                raise
            except Exception:  # The inputs may not be of the kind that the model takes.
                pass

        def images_to_logits(images: Any) -> Any:
            return class_logits(head.function(images))

        return images_to_logits

    def outputs(self, model: Any, output: str | int | None = None, subject: str = "model") -> Callable[[Any], Any]:
        """Return the model as a function from images to its one output, or the chosen one, in inference mode.

        The function raises an `InputError` if there are several outputs and none is chosen, or there is no such one.
        """
        names = getattr(model, "output_names", None) or ()

        def images_to_output(images: Any) -> Any:
            found = model(images, training=False)
            if isinstance(found, (list, tuple)) and len(found) == len(set(names)):
                found = dict(zip(names, found, strict=True))
            return only_output(found, output, subject=subject)

        return images_to_output

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

    def _check_wrapped(self, model: Any) -> None:
        if not self.is_wrapped(model):
            raise InputError(
                "model",
                expected="a model that laq.apply(model) has wrapped",
                received=f"{type(model).__name__} {model.name!r} without a wrapped layer",
            )

    def _is_graph(self, model: Any) -> bool:
        """Return whether a model is made of a graph of layers, which can be rebuilt, or subclassed.

        What a class computes around its graph, in a `call` of its own, would be lost with the class.
        """
        return self._has_graph(model) and has_keras_call(model)

    def _has_graph(self, model: Any) -> bool:
        return isinstance(model, self.keras.Sequential) or self.is_functional(model)

    def _parts(self, model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Give the parts of a graph with their paths: layers, and subclassed models as a whole."""
        for layer in model.layers:
            path = f"{prefix}{layer.name}"
            if self._is_nested(layer):
                yield from self._parts(layer, f"{path}/")
            else:
                yield path, layer

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

    def _rewired(self, model: Any, convert: Convert) -> Any:
        """Return a model of the same graph, nested models included, of the layers that `convert` puts in their places.

        Args:
            model: A Sequential or functional model.
            convert: Gives the layer in the place of the one at a path, as a rule that one itself.
        """
        paths: dict[int, str] = {}
        for path, layer in self._parts(model):
            paths.setdefault(id(layer), path)
        converted: dict[int, Any] = {}

        def clone_layer(layer: Any) -> Any:
            if id(layer) not in converted:
                # Operations of keras.ops are nodes of the graph too, without a path.
                path = paths.get(id(layer))
                converted[id(layer)] = layer if path is None else convert(path, layer)
            return converted[id(layer)]

        twin = self._clone(model, clone_layer)
        if not twin.built:
            twin.build(model.input_shape)
        return twin

    def _made_anew(self, model: Any) -> Any:
        """Return a model of the same configuration, layers in several places as one."""
        if not self._is_graph(model):
            return self.keras.models.clone_model(model)
        return self._rewired(model, lambda path, layer: type(layer).from_config(layer.get_config()))

    def rebuilt(self, model: Any, config_of: Callable[[Any], dict[str, Any]]) -> Any:
        """Return a model of the same graph and weights, whose layers are made anew from other configurations.

        Args:
            model: A built Sequential or functional model; it stays as it is.
            config_of: From a layer to the configuration of the one in its place.

        Raises:
            InputError: The model is another one, or one of its layers cannot be made so.
        """
        expected = "a built Sequential or functional model, whose layers can be made anew from their configurations"
        if not (self._is_graph(model) and model.built):
            raise InputError("model", expected=expected, received=f"{type(model).__name__} {model.name!r}")
        try:
            twin = self._rewired(model, lambda path, layer: type(layer).from_config(config_of(layer)))
            twin.set_weights(model.get_weights())
        except (TypeError, ValueError, NotImplementedError) as error:
            received = f"{type(model).__name__} {model.name!r}, for which that fails: {' '.join(str(error).split())}"
            raise InputError("model", expected=expected, received=received) from error
        for part in twin._flatten_layers():
            # Keras 3 keeps in constants what a layer computes from the weights of its adapting.
            if hasattr(part, "finalize_state"):
                part.finalize_state()
        return twin

    def _inner(self, path: str, layer: Any) -> Any:
        return layer.layer if isinstance(layer, self.wrapper) else layer

    def _copy_to_quantize(self, model: Any, quantizers: Mapping[Key, Quantizer]) -> tuple[Any, dict[Key, Any]]:
        """Return a copy of a model that computes with the weights to be quantized, and all its weights.

        Raises:
            InputError: The model cannot be copied, or does not compute with one of these weights as it is.
        """
        twin = self.copy(model)
        variables = self.variables(twin)
        check_used(twin, variables, quantizers)
        return twin, variables


def _quantizers(plan: QuantizationPlan) -> dict[Key, Quantizer]:
    return {(e.layer, e.weight): q for e in plan.entries if (q := e.make_quantizer()) is not None}


def _quantize(variables: Mapping[Key, Any], quantizers: Mapping[Key, Quantizer]) -> None:
    """Put weights of a plain model through their quantizers."""
    for key, quantizer in quantizers.items():
        values = quantizer.quantize(value_of(variables[key]))
        variables[key].assign(values.astype(tf.as_dtype(variables[key].dtype).as_numpy_dtype, copy=False))


@contextlib.contextmanager
def _nodes_as_they_are(model: Any) -> Iterator[None]:
    """Take back what a second graph of a model's layers adds to them: Keras would no longer know the layer's output."""
    lists = [getattr(part, name) for part in model._flatten_layers() for name in ("_inbound_nodes", "_outbound_nodes")]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]
