"""From a float Keras 3 model to a quantized one, wrapped or baked, and back; the given model is never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from tf_laq.errors import InputError
from tf_laq.keras3 import kernels
from tf_laq.keras3.wrapper import QuantizedModel, QuantizeWrapper, Weights
from tf_laq.plan import QuantizationPlan

# From the path of a layer and the layer to the layer for the new model, and the part of it that gets the weights.
Convert = Callable[[str, Any], tuple[Any, Any]]


def wrap(model: Any, plan: QuantizationPlan) -> Any:
    """Return a trainable model that computes with quantized weights.

    The layers of a Sequential or functional model are wrapped one by one, a subclassed model as a whole.

    Raises:
        InputError: The plan is for another model, or a subclassed model cannot be copied.
    """
    settings = kernels.settings(model, plan)
    if not is_graph(model):
        places = dict(_places(model))
        by_place = {f"{places[path]}.{weight}": q for path, layer in settings.items() for weight, q in layer.items()}
        return QuantizedModel(copy_subclassed(model), by_place)

    def wrapped(path: str, layer: Any) -> tuple[Any, Any]:
        inner = duplicate(layer)
        return (QuantizeWrapper(inner, settings[path]) if path in settings else inner), inner

    return rebuild(model, wrapped)


def bake(model: Any, plan: QuantizationPlan) -> Any:
    """Return a plain model of the same architecture with quantized values as weights.

    Raises:
        InputError: The plan is for another model, or a subclassed model cannot be copied.
    """
    settings = kernels.settings(model, plan)
    twin = plain_copy(model)
    for path, layer in kernels.walk(twin):
        quantize_weights(layer, settings.get(path, {}))
    return twin


def is_wrapped(model: Any) -> bool:
    """Return whether a model has layers that compute with quantized weights."""
    if isinstance(model, QuantizedModel):
        return True
    return any(isinstance(layer, QuantizeWrapper) for _, layer in kernels.walk(model))


def strip(model: Any) -> Any:
    """Return a wrapped model as a plain one with quantized values as weights; its outputs are the same bits.

    Raises:
        InputError: The model has no wrapped layer.
    """
    _check_wrapped(model)
    if isinstance(model, QuantizedModel):
        twin = plain_copy(model.model)
        quantize_weights(twin, model.quantized_weights)
        return twin
    settings: list[tuple[Any, Weights]] = []

    def plain(path: str, layer: Any) -> tuple[Any, Any]:
        if not isinstance(layer, QuantizeWrapper):
            twin = duplicate(layer)
        else:
            twin = duplicate(layer.layer)
            settings.append((twin, layer.quantized_weights))
        return twin, twin

    stripped = rebuild(model, plain)
    for layer, weights in settings:
        quantize_weights(layer, weights)
    return stripped


def float_twin(model: Any) -> Any:
    """Return the float network underneath a wrapped model: a plain model of the same layers, with their very weights.

    Raises:
        InputError: The model has no wrapped layer.
    """
    _check_wrapped(model)
    if isinstance(model, QuantizedModel):
        return model.model

    def inner(path: str, layer: Any) -> tuple[Any, Any]:
        plain = layer.layer if isinstance(layer, QuantizeWrapper) else layer
        return plain, plain

    return rebuild(model, inner)


def _check_wrapped(model: Any) -> None:
    if not is_wrapped(model):
        raise InputError(
            "model",
            expected="a model that laq.apply(model) has wrapped",
            received=f"{type(model).__name__} {model.name!r} without a wrapped layer",
        )


def _places(model: Any, names: str = "", place: str = "") -> Iterator[tuple[str, str]]:
    """Give the path of every layer by names, and its attribute path in the model."""
    for index, layer in enumerate(model.layers):
        path, at = f"{names}{layer.name}", f"{place}layers.{index}"
        yield path, at
        if isinstance(layer, keras.Model):
            yield from _places(layer, f"{path}/", f"{at}.")


def is_graph(model: Any) -> bool:
    """Return whether a Keras 3 model is made of a graph of layers, which can be rebuilt, or subclassed."""
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def duplicate(layer: Any, **changes: Any) -> Any:
    """Return a new layer with the layer's configuration, or a changed one, and fresh weights."""
    # A Python function in a layer of the running program is no risk, as one in a file would be.
    trusted = {"safe_mode": False} if isinstance(layer, keras.layers.Lambda) else {}
    return type(layer).from_config({**layer.get_config(), **changes}, **trusted)


def plain_copy(model: Any) -> Any:
    """Return a model with the same layers and weights and nothing shared."""
    if not is_graph(model):
        return copy_subclassed(model)

    def copied(path: str, layer: Any) -> tuple[Any, Any]:
        twin = duplicate(layer)
        return twin, twin

    return rebuild(model, copied)


def rebuild(model: Any, convert: Convert) -> Any:
    """Return a model of the same graph, nested models included, with every layer converted and its weights copied.

    Args:
        model: A Sequential or functional model.
        convert: Makes the copy of the layer at a path.
    """
    paths = {id(layer): path for path, layer in kernels.walk(model)}
    copies: dict[int, tuple[Any, Any]] = {}

    def clone_layer(layer: Any) -> Any:
        # Operations of keras.ops are nodes of the graph too, without weights.
        path = paths.get(id(layer))
        converted, target = convert(path, layer) if path is not None else (duplicate(layer),) * 2
        copies[id(layer)] = layer, target
        return converted

    twin = keras.models.clone_model(model, clone_function=clone_layer, recursive=True)
    if not twin.built:
        twin.build(model.input_shape)
    for source, target in copies.values():
        copy_weights(source.layer if isinstance(source, QuantizeWrapper) else source, target)
    return twin


def copy_weights(source: Any, target: Any) -> None:
    """Give a layer the weights of another one of the same kind, the states of random generators included."""
    for given, variable in zip(getattr(source, "variables", ()), getattr(target, "variables", ()), strict=True):
        variable.assign(given)
    if isinstance(target, keras.layers.Normalization):
        target.finalize_state()


def quantize_weights(layer: Any, weights: Weights) -> None:
    """Put weights of a layer through their quantizers."""
    for path, quantizer in weights.items():
        variable = kernels.attribute(layer, path)
        variable.assign(quantizer.quantize(kernels.values(layer, path)))


def copy_subclassed(model: Any) -> Any:
    """Return a copy of a subclassed model, by its configuration."""
    try:
        twin = type(model).from_config(model.get_config())
        twin.build_from_config(model.get_build_config())
        copy_weights(model, twin)
        twin.built = model.built  # Keras leaves it unset where the class has no method build.
    except Exception as error:  # Keras raises whatever the user's class raises.
        reason = " ".join(str(error).split())
        raise InputError(
            "model",
            expected="a model that can be copied",
            received=f"the subclassed model {type(model).__name__}, whose copy fails with: {reason}",
            remedy="Give the class get_config and from_config, or build the model with the functional API.",
        ) from error
    kernels.copy_names(model, twin)
    return twin
