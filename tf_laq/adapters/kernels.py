"""Where the weights of Keras layers are, and how each kernel is read as a matrix; the same for both versions of Keras.

| layer | weight | matrix |
| --- | --- | --- |
| Dense, Embedding, recurrent cells | kernel, embeddings, recurrent_kernel (in, out) | (in, out) |
| Conv1D/2D/3D | kernel (k..., c_in / groups, c_out) | (k... c_in, c_out), a block per group |
| Conv1D/2D/3DTranspose | kernel (k..., c_out, c_in) | (k... c_in, c_out) |
| DepthwiseConv1D/2D (Keras 3: kernel), SeparableConv1D/2D | depthwise_kernel (k..., c_in, multiplier) | a block each |
| SeparableConv1D/2D | pointwise_kernel (1..., c_in, c_out) | (c_in, c_out) |
| EinsumDense, inside MultiHeadAttention | kernel | by its equation |
| ReversibleEmbedding that is not tied | reverse_embeddings (in, out) | (in, out) |
| any other layer with an attribute `kernel` | kernel (..., out) | (..., out) |

A layer that holds other layers in its attributes, or in lists and dicts there, has their kernels too, by attribute
paths such as "forward_layer.cell.kernel" or "heads.left.kernel".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq import lipschitz
from tf_laq.adapters.prepared import check_unprepared
from tf_laq.adapters.reaching import first_layers
from tf_laq.errors import InputError
from tf_laq.lipschitz import MatrixLayout
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.sensitivity import WeightTensor

Kernels = dict[str, MatrixLayout]
"""Attribute path of a weight in its layer -> layout."""

_PARTS = {
    "Bidirectional": ("forward_layer", "backward_layer"),
    "RNN": ("cell",),
    "StackedRNNCells": ("cells",),
    "TimeDistributed": ("layer",),
}
_NORMALIZATION = (
    "BatchNormalization",
    "SyncBatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "Normalization",
)
# Layers that run a SavedModel: class and the package it comes from.
_SAVED_MODELS = (("TFSMLayer", "keras"), ("KerasLayer", "tensorflow_hub"))
# Where Keras itself lists the layers that an object holds, beside the attribute that its author gave them.
_BOOKKEEPING = (
    "_layers",
    "_self_tracked_trackables",
    "_self_unconditional_checkpoint_dependencies",
    "_self_unconditional_dependency_names",
    "_self_unconditional_deferred_dependencies",
)


@dataclasses.dataclass(frozen=True)
class LayerKinds:
    """The layers of one version of Keras.

    Args:
        keras: The module `tf_keras` or `keras`.
    """

    keras: Any

    def find_weights(self, model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
        """Return the weight tensors of a built model that can be quantized, and what is left alone.

        Together they are all weights of the model. A layer has a line among what is left alone if none of its weights
        can be quantized, or if others that are no vectors stay float32; so has a model with weights beside its layers.

        Raises:
            InputError: The model is not built, has NaN or infinite weights, layers that another tool has prepared or
                that share a path, or a kernel that is not among its weights.
        """
        found = list(self.kernels_by_layer(model))
        at_input = first_layers(model, lambda layer: bool(self.kernels_of(layer)))
        tensors = [
            WeightTensor(path, weight, values(layer, weight), layout, fed_by_input=id(layer) in at_input)
            for path, layer, kernels in found
            for weight, layout in kernels.items()
        ]
        planned = {
            id(attribute(layer, weight)): f"{path}.{weight}" for path, layer, kernels in found for weight in kernels
        }
        _check_listed(model, planned)
        left_alone = []
        for path, layer, kernels in found:
            reason = self._why_beside(layer, planned) if kernels else self._why_left_alone(layer, planned)
            if reason:
                left_alone.append(LeftAlone(path, type(layer).__name__, reason))
        # Keras 2 lists the counters of metrics among the weights.
        holders = [layer for _, layer, _ in found] + model.metrics
        accounted = planned.keys() | {id(weight) for holder in holders for weight in holder.variables}
        return tensors, left_alone + self._weights_beside_layers(model, accounted)

    def variables(self, model: Any) -> dict[tuple[str, str], Any]:
        """Return the Keras variable of every weight that can be quantized, by layer path and weight path."""
        return {
            (path, weight): attribute(layer, weight)
            for path, layer, kernels in self.kernels_by_layer(model)
            for weight in kernels
        }

    def kernels_by_layer(self, model: Any) -> Iterator[tuple[str, Any, Kernels]]:
        """Give every layer of a model with its path and its kernels, a tied kernel with the first layer that has it."""
        if not model.built:
            raise InputError(
                "model",
                expected="a built model",
                received=f"{type(model).__name__} {model.name!r} without weights",
                remedy="Call model.build(input_shape), or call the model on a batch.",
            )
        self._check_paths(model)
        seen: set[int] = set()
        for path, layer in self.walk(model):
            check_unprepared(path, layer)
            kernels = {}
            for weight, layout in self.kernels_of(layer).items():
                if id(attribute(layer, weight)) not in seen:
                    seen.add(id(attribute(layer, weight)))
                    kernels[weight] = layout
            yield path, layer, kernels

    def _check_paths(self, model: Any) -> None:
        """Raise an `InputError` if a layer with kernels shares its path: a plan names weights by it."""
        first: dict[str, Any] = {}
        for path, part in self._parts(model):
            other = first.setdefault(path, part)
            pair = [] if other is part else [layer for layer in (other, part) if not self._is_model(layer)]
            if any(self.kernels_of(layer) for layer in pair):
                raise InputError(
                    f"layer {path!r}",
                    expected="a path of its own for every layer with a kernel",
                    received=f"a {type(other).__name__} and a {type(part).__name__} of that path",
                    remedy="Give the layers different names when you make them: Layer(..., name=...).",
                )

    def check_plan(self, model: Any, plan: QuantizationPlan) -> None:
        """Raise an `InputError` if a plan is for another model."""
        found = {key: tuple(variable.shape) for key, variable in self.variables(model).items()}
        planned = {(entry.layer, entry.weight): tuple(entry.shape) for entry in plan.entries}
        differing = sorted(key for key in found.keys() | planned.keys() if found.get(key) != planned.get(key))
        if differing:
            layer, weight = differing[0]
            raise InputError(
                "plan",
                expected=f"a plan for this model, which has {found.get(differing[0], 'nothing')} at {layer}.{weight}",
                received=f"a plan with {planned.get(differing[0], 'nothing')} there ({len(differing)} weights differ)",
                remedy="Make a plan with laq.search(model).",
            )

    def walk(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Give every layer of a model once with its path, the layers of nested models as "model/layer"."""
        for path, part in self._parts(model):
            if not self._is_model(part) and not isinstance(part, self.keras.layers.InputLayer):
                yield path, part

    def _parts(self, model: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
        """Give every layer and every nested model once with its path, models before what is in them."""
        seen = set() if seen is None else seen
        for part in model.layers:
            if id(part) in seen:
                continue
            seen.add(id(part))
            path = f"{prefix}{part.name}"
            yield path, part
            if self._is_model(part):
                yield from self._parts(part, f"{path}/", seen)

    def _is_model(self, part: Any) -> bool:
        return isinstance(part, self.keras.Model)

    def kernels_of(self, layer: Any) -> Kernels:
        """Return the weights of a built layer that can be quantized; empty if there are none."""
        return self._kernels(layer, set())

    def _kernels(self, layer: Any, seen: set[int]) -> Kernels:
        """Return a layer's own kernels and those of the layers in it, each of these once."""
        seen.add(id(layer))
        if self._is(layer, "SpectralNormalization") or _is_saved_model(layer):
            return {}
        own = {} if self._parts_of(layer) else self._own_kernels(layer)
        found = {weight: layout for weight, layout in own.items() if _is_kernel(getattr(layer, weight, None))}
        for way, inner in self._inner_layers(layer):
            kernels = {} if id(inner) in seen else self._kernels(inner, seen)
            kernels = {".".join((*way, weight)): layout for weight, layout in kernels.items()}
            if kernels.keys() & found.keys() or (kernels and any("." in name for name in way)):
                raise InputError(
                    f"layer {layer.name!r}",
                    expected="different names, without a dot, for the layers that it holds",
                    received=f"{way[-1]!r} in {'.'.join(way[:-1]) or 'its attributes'}",
                    remedy="Use another key or attribute for that layer.",
                )
            found |= kernels
        return found

    def _inner_layers(self, layer: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Give the layers that a layer holds, each with the names on the way to it: attribute, keys, indices."""
        if self._is_model(layer):
            names: Iterable[str] = ("layers",)
        else:
            names = self._parts_of(layer) or [name for name in vars(layer) if name not in _BOOKKEEPING]
        for name in names:
            yield from self._layers_in(getattr(layer, name, None), (name,))

    def _layers_in(self, held: Any, way: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if isinstance(held, self.keras.layers.Layer):
            yield way, held
        elif isinstance(held, dict):
            for key, item in held.items():
                yield from self._layers_in(item, (*way, str(key)))
        elif isinstance(held, (list, tuple)):
            for index, item in enumerate(held):
                yield from self._layers_in(item, (*way, str(index)))

    def _parts_of(self, layer: Any) -> tuple[str, ...]:
        return next((parts for kind, parts in _PARTS.items() if self._is(layer, kind)), ())

    def is_batch_norm(self, layer: Any) -> bool:
        """Return whether a layer is a batch normalisation, with running statistics."""
        return self._is(layer, "BatchNormalization", "SyncBatchNormalization")

    def _is(self, layer: Any, *kinds: str) -> bool:
        """Return whether a layer is of one of the kinds, as far as this version of Keras has them."""
        rooms = (self.keras.layers, getattr(self.keras.layers, "experimental", None))
        return isinstance(layer, tuple(filter(None, (getattr(room, kind, None) for room in rooms for kind in kinds))))

    def _own_kernels(self, layer: Any) -> Kernels:
        if self._is(layer, "SeparableConv1D", "SeparableConv2D"):
            rank = layer.rank
            last = MatrixLayout(tuple(range(rank + 1)), (rank + 1,))
            return {"depthwise_kernel": lipschitz.depthwise_convolution(rank), "pointwise_kernel": last}
        if self._is(layer, "DepthwiseConv1D", "DepthwiseConv2D"):
            # Keras 3 calls it by another name than Keras 2.
            name = "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"
            return {name: lipschitz.depthwise_convolution(layer.rank)}
        if self._is(layer, "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"):
            return {"kernel": lipschitz.transposed_convolution(layer.rank)}
        if self._is(layer, "Conv1D", "Conv2D", "Conv3D"):
            layouts = (lipschitz.conv1d, lipschitz.conv2d, lipschitz.conv3d)
            return {"kernel": layouts[layer.rank - 1](layer.groups)}
        if self._is(layer, "EinsumDense"):
            return {"kernel": lipschitz.einsum(layer.equation)}
        names = ("kernel", "recurrent_kernel", "embeddings", "reverse_embeddings")
        ranks = {name: len(getattr(getattr(layer, name, None), "shape", ())) for name in names}
        return {name: MatrixLayout(tuple(range(rank - 1)), (rank - 1,)) for name, rank in ranks.items() if rank >= 2}

    def _why_left_alone(self, layer: Any, planned: Mapping[int, str]) -> str:
        """Return why no weight of a layer is planned with the layer."""
        weights = _variables(layer)
        if _is_saved_model(layer):
            return "a SavedModel; its weights stay as they are"
        if not weights:
            return "no weights"
        if self._is(layer, *_NORMALIZATION):
            return "normalisation parameters stay float32"
        if self._is(layer, "SpectralNormalization"):
            return "computes its kernel anew in training; its weights stay float32"
        shared = [f"{weight} is {planned[id(attribute(layer, weight))]}" for weight in self.kernels_of(layer)]
        if shared:
            reasons = ["shares its kernels with other layers: " + ", ".join(shared), self._why_beside(layer, planned)]
            return "; ".join(filter(None, reasons))
        inner = [part.name for part in layer._flatten_layers(include_self=False)]
        if inner:
            return f"holds other layers ({', '.join(inner)}) in a way that is not known; its weights stay float32"
        names = ", ".join(f"{w.name} {tuple(w.shape)}" for w in weights)
        return f"has no known kernel; its weights stay float32: {names}"

    def _why_beside(self, layer: Any, planned: Mapping[int, str]) -> str:
        """Return what a layer has beside its kernels; nothing if these are vectors and scalars: always float32."""
        beside = [w for w in _variables(layer) if id(w) not in planned and len(w.shape) >= 2]
        return f"stays float32 beside its kernels: {_described(beside)}" if beside else ""

    def _weights_beside_layers(self, model: Any, accounted: set[int]) -> list[LeftAlone]:
        """Return a line for every model, nested ones too, that has weights of its own: others than those given."""
        lines = []
        # From the innermost models outwards, since a model's weights are among those of the models around it.
        for path, part in reversed([(model.name, model), *self._parts(model)]):
            own = [w for w in _variables(part) if id(w) not in accounted] if self._is_model(part) else []
            accounted = accounted | {id(weight) for weight in own}
            if own:
                reason = f"has weights of its own beside its layers, which stay float32: {_described(own)}"
                lines.append(LeftAlone(path, type(part).__name__, reason))
        return lines[::-1]


def tensorflow_variable(variable: Any) -> Any:
    """Return the TensorFlow variable of a Keras one."""
    inner = getattr(variable, "value", variable)  # A Keras 3 variable holds that of its backend.
    return variable if callable(inner) else inner


def wide_variable(variable: Any) -> Any:
    """Return the TensorFlow variable of a Keras one, under mixed precision the float32 one that is cast when read."""
    inner = tensorflow_variable(variable)
    return getattr(inner, "_variable", inner)


def value_of(variable: Any) -> npt.NDArray[Any]:
    """Return the value that a Keras variable has now, to be read only: it takes no memory of its own."""
    return np.asarray(tensorflow_variable(variable).value())


def attribute(layer: Any, path: str) -> Any:
    """Return the attribute of a layer at a dotted path, through lists by index and through dicts by key."""
    return functools.reduce(_step, path.split("."), layer)


def has_weights(layer: Any, paths: Iterable[str]) -> bool:
    """Return whether a layer has the weights at dotted paths.

    A loaded composite layer without a method `build` counts as built, but its layers are not before its first call.
    """
    try:
        return layer.built and all(attribute(layer, path) is not None for path in paths)
    except (AttributeError, LookupError):
        return False


def holder(layer: Any, path: str) -> tuple[Any, str]:
    """Return the object that holds the attribute at a dotted path, and the attribute's name in it."""
    *way, name = path.split(".")
    return functools.reduce(_step, way, layer), name


def values(layer: Any, path: str) -> Any:
    """Return the values of a layer's weight as a float32 array."""
    return value_of(attribute(layer, path)).astype(np.float32, copy=False)


def _step(thing: Any, name: str) -> Any:
    if isinstance(thing, dict):
        return {str(key): item for key, item in thing.items()}[name]
    return thing[int(name)] if isinstance(thing, (list, tuple)) else getattr(thing, name)


def has_keras_call(layer: Any) -> bool:
    """Return whether a layer or model computes what Keras has written, and not what a class of its user does."""
    return str(getattr(type(layer).call, "__module__", "")).partition(".")[0] in ("keras", "tf_keras")


def _check_listed(model: Any, planned: Mapping[int, str]) -> None:
    """Raise an `InputError` if the model does not list a planned weight: copies and files would not have it."""
    listed = {id(weight) for weight in model.weights}
    unlisted = [name for weight, name in planned.items() if weight not in listed]
    if unlisted:
        raise InputError(
            "model",
            expected="a model whose weights (model.weights) include all kernels of its layers",
            received=f"one without {', '.join(unlisted)}",
            remedy="Assign the layers to attributes of their model or layer, so that Keras tracks them.",
        )


def _variables(layer: Any) -> list[Any]:
    """Return the weights of a layer or model that are variables: lookup tables are among the weights in Keras 2."""
    return [weight for weight in layer.weights if hasattr(weight, "shape")]


def _described(weights: Iterable[Any]) -> str:
    # Keras 2 puts the layer's name before a weight's, and a number after it.
    return ", ".join(f"{w.name.rpartition('/')[2].removesuffix(':0')} {tuple(w.shape)}" for w in weights)


def _is_saved_model(layer: Any) -> bool:
    return (type(layer).__name__, type(layer).__module__.split(".")[0]) in _SAVED_MODELS


def _is_kernel(weight: Any) -> bool:
    return hasattr(weight, "numpy") and hasattr(weight, "assign") and len(weight.shape) >= 2
