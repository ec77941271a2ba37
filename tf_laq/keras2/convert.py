"""From a float tf_keras model to a quantized one, wrapped or baked, and back; the given model is never changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tf_keras

from tf_laq.errors import InputError
from tf_laq.keras2 import kernels
from tf_laq.keras2.quantize_config import WeightOnlyConfig, WeightQuantizer
from tf_laq.keras2.wrapper import QuantizeWrapper
from tf_laq.plan import QuantizationPlan
from tf_laq.quantizers import Quantizer

Settings = Mapping[str, Quantizer]
"""Attribute path of a weight in its layer -> quantizer."""


@dataclasses.dataclass
class LayerCopy:
    """A layer made anew from a source layer's configuration.

    Attributes:
        layer: The layer to put into the new model.
        target: The layer in it (or itself) that gets the source's weights.
        source: The layer the weights come from.
        baked: Quantizers to put the copied weights through.
    """

    layer: Any
    target: Any
    source: Any
    baked: Settings = dataclasses.field(default_factory=dict)

    def copy_weights(self) -> None:
        """Give the target the source's weights, quantized where that is asked for."""
        self.target.set_weights(self.source.get_weights())
        for path, quantizer in self.baked.items():
            variable = kernels.attribute(self.target, path)
            quantized = quantizer.quantize(kernels.values(self.source, path))
            variable.assign(quantized.astype(variable.dtype.as_numpy_dtype))
        if isinstance(self.target, tf_keras.layers.experimental.preprocessing.PreprocessingLayer):
            self.target.finalize_state()


def wrap(model: Any, plan: QuantizationPlan) -> Any:
    """Return a trainable model whose layers compute with quantized weights.

    Raises:
        InputError: The plan is for another model, or the model is subclassed.
    """
    settings = kernels.settings(model, plan)
    if not is_graph(model):
        raise InputError(
            "model",
            expected="a Sequential or functional model (only these can be rebuilt with wrapped layers)",
            received=f"the subclassed model {type(model).__name__}",
            remedy="Use laq.apply(model, baked=True), or build the model with the functional API.",
        )

    def wrapped(path: str, layer: Any) -> LayerCopy:
        inner = duplicate(layer)
        if not settings.get(path):
            return LayerCopy(inner, inner, layer)
        config = WeightOnlyConfig({w: WeightQuantizer(q.name, q.bits) for w, q in settings[path].items()})
        return LayerCopy(QuantizeWrapper(inner, config), inner, layer)

    return rebuild(model, wrapped)


def bake(model: Any, plan: QuantizationPlan) -> Any:
    """Return a plain model of the same architecture with quantized values as weights.

    Raises:
        InputError: The plan is for another model, or the model is subclassed and cannot be copied.
    """
    settings = kernels.settings(model, plan)

    def baked(path: str, layer: Any) -> LayerCopy:
        plain = duplicate(layer)
        return LayerCopy(plain, plain, layer, settings.get(path, {}))

    if is_graph(model):
        return rebuild(model, baked)
    twin = _copy_subclassed(model)
    for (path, source), (_, target) in zip(kernels.walk(model), kernels.walk(twin), strict=True):
        LayerCopy(target, target, source, settings.get(path, {})).copy_weights()
    return twin


def is_wrapped(model: Any) -> bool:
    """Return whether a model has layers that compute with quantized weights."""
    return any(isinstance(layer, QuantizeWrapper) for _, layer in kernels.walk(model))


def strip(model: Any) -> Any:
    """Return a wrapped model as a plain one with quantized values as weights; its outputs are the same bits.

    Raises:
        InputError: The model has no wrapped layer.
    """
    _check_wrapped(model)

    def plain(path: str, layer: Any) -> LayerCopy:
        if not isinstance(layer, QuantizeWrapper):
            twin = duplicate(layer)
            return LayerCopy(twin, twin, layer)
        twin = duplicate(layer.layer)
        weights = layer.quantize_config.weights
        return LayerCopy(twin, twin, layer.layer, {path: weight.quantizer for path, weight in weights.items()})

    return rebuild(model, plain)


def float_twin(model: Any) -> Any:
    """Return the float network underneath a wrapped model: a plain model of the same layers, with their very weights.

    Raises:
        InputError: The model has no wrapped layer.
    """
    _check_wrapped(model)

    def inner(path: str, layer: Any) -> LayerCopy:
        plain = layer.layer if isinstance(layer, QuantizeWrapper) else layer
        return LayerCopy(plain, plain, plain)

    return rebuild(model, inner)


def is_graph(model: Any) -> bool:
    """Return whether a tf_keras model is made of a graph of layers, which can be rebuilt, or subclassed."""
    return isinstance(model, tf_keras.Sequential) or bool(getattr(model, "_is_graph_network", False))


def duplicate(layer: Any, **changes: Any) -> Any:
    """Return a new layer with the layer's configuration, or a changed one, and fresh weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def rebuild(model: Any, convert: Callable[[str, Any], LayerCopy]) -> Any:
    """Return a model of the same graph, nested models included, with every layer converted and its weights copied.

    Args:
        model: A Sequential or functional model.
        convert: Makes the copy of the layer at a path.
    """
    copies: dict[int, LayerCopy] = {}

    def clone(part: Any, prefix: str) -> Any:
        def clone_layer(layer: Any) -> Any:
            if isinstance(layer, tf_keras.Model):
                return clone(layer, f"{prefix}{layer.name}/")
            if id(layer) not in copies:
                copies[id(layer)] = convert(f"{prefix}{layer.name}", layer)
            return copies[id(layer)].layer

        return tf_keras.models.clone_model(part, clone_function=clone_layer)

    twin = clone(model, "")
    if not twin.built:
        twin.build(model.input_shape)
    for layer_copy in copies.values():
        layer_copy.copy_weights()
    return twin


def _copy_subclassed(model: Any) -> Any:
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # Keras raises whatever the user's class raises.
        raise InputError(
            "model",
            expected="a model that can be copied",
            received=f"the subclassed model {type(model).__name__}, whose copy fails with: {error}",
            remedy="Give the class get_config and from_config, or build the model with the functional API.",
        ) from error
    kernels.copy_names(model, twin)
    return twin


def _check_wrapped(model: Any) -> None:
    if not is_wrapped(model):
        raise InputError(
            "model",
            expected="a model that laq.apply(model) has wrapped",
            received=f"{type(model).__name__} {model.name!r} without a wrapped layer",
        )
