"""Where the weights of Keras layers are, and how each kernel is read as a matrix; the same for both versions of Keras.

| layer | weight | matrix |
| --- | --- | --- |
| Dense, Embedding, recurrent cells | kernel, embeddings, recurrent_kernel (in, out) | (in, out) |
| Conv1D/2D/3D | kernel (k..., c_in / groups, c_out) | (k... c_in, c_out), a block per group |
| Conv1D/2D/3DTranspose | kernel (k..., c_out, c_in) | (k... c_in, c_out) |
| DepthwiseConv1D/2D (Keras 3: kernel), SeparableConv1D/2D | depthwise_kernel (k..., c_in, multiplier) | a block each |
| SeparableConv1D/2D | pointwise_kernel (1..., c_in, c_out) | (c_in, c_out) |
| EinsumDense, inside MultiHeadAttention | kernel | by its equation |
| any other layer with an attribute `kernel` | kernel (..., out) | (..., out) |

A layer that holds other layers in its attributes, or in lists there, has their kernels too, by attribute paths such as
"forward_layer.cell.kernel".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tf_laq import lipschitz
from tf_laq.errors import InputError
from tf_laq.lipschitz import MatrixLayout
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.quantizers import Quantizer
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
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "Normalization",
)
# Where Keras itself lists the layers that an object holds, beside the attribute that its author gave them.
_BOOKKEEPING = ("_layers", "_self_tracked_trackables")


@dataclasses.dataclass(frozen=True)
class LayerKinds:
    """The layers of one version of Keras.

    Args:
        keras: The module `tf_keras` or `keras`.
    """

    keras: Any

    def find_weights(self, model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
        """Return the weight tensors of a built model that can be quantized, and the layers left alone.

        Raises:
            InputError: The model is not built, or has NaN or infinite weights.
        """
        tensors, left_alone = [], []
        at_input = first_layers(model, lambda layer: bool(self.kernels_of(layer)))
        for path, layer, kernels in self._kernels_by_layer(model):
            tensors += [
                WeightTensor(path, weight, values(layer, weight), layout, fed_by_input=id(layer) in at_input)
                for weight, layout in kernels.items()
            ]
            if not kernels:
                left_alone.append(LeftAlone(path, type(layer).__name__, self._why_left_alone(layer)))
        return tensors, left_alone

    def variables(self, model: Any) -> dict[tuple[str, str], Any]:
        """Return the Keras variable of every weight that can be quantized, by layer path and weight path."""
        return {
            (path, weight): attribute(layer, weight)
            for path, layer, kernels in self._kernels_by_layer(model)
            for weight in kernels
        }

    def _kernels_by_layer(self, model: Any) -> Iterator[tuple[str, Any, Kernels]]:
        if not model.built:
            raise InputError(
                "model",
                expected="a built model",
                received=f"{type(model).__name__} {model.name!r} without weights",
                remedy="Call model.build(input_shape), or call the model on a batch.",
            )
        for path, layer in self.walk(model):
            yield path, layer, self.kernels_of(layer)

    def settings(self, model: Any, plan: QuantizationPlan) -> dict[str, dict[str, Quantizer]]:
        """Return a plan as layer path -> weight -> quantizer, after checking that it is this model's.

        Raises:
            InputError: The plan is for another model.
        """
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
        settings: dict[str, dict[str, Quantizer]] = {}
        for entry in plan.entries:
            quantizer = entry.make_quantizer()
            if quantizer is not None:
                settings.setdefault(entry.layer, {})[entry.weight] = quantizer
        return settings

    def walk(self, model: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
        """Give every layer of a model once with its path, the layers of nested models as "model/layer"."""
        seen = set() if seen is None else seen
        for layer in model.layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = f"{prefix}{layer.name}"
            if isinstance(layer, self.keras.Model):
                yield from self.walk(layer, f"{path}/", seen)
            elif not isinstance(layer, self.keras.layers.InputLayer):
                yield path, layer

    def places(self, model: Any, names: str = "", place: str = "") -> Iterator[tuple[str, str]]:
        """Give the path of every layer by names, and its attribute path in the model."""
        for index, layer in enumerate(model.layers):
            path, at = f"{names}{layer.name}", f"{place}layers.{index}"
            yield path, at
            if isinstance(layer, self.keras.Model):
                yield from self.places(layer, f"{path}/", f"{at}.")

    def by_name(self, path: str, part: Any, weights: Mapping[str, Quantizer]) -> dict[tuple[str, str], Quantizer]:
        """Return the settings of a layer, or of a model as a whole, at a path by layer path and weight path."""
        if not isinstance(part, self.keras.Model):
            return {(path, weight): quantizer for weight, quantizer in weights.items()}
        found = {}
        for name, place in self.places(part, f"{path}/" if path else ""):
            for at, quantizer in weights.items():
                weight = at.removeprefix(f"{place}.")
                # The rest of the path of a layer further inside begins with its own place.
                if weight != at and not weight.startswith("layers."):
                    found[name, weight] = quantizer
        return found

    def copy_names(self, model: Any, twin: Any) -> None:
        """Give a copy of a model, and all layers in it, the names of the original: Keras may have counted on.

        A plan names layers, and so a plan for the model is one for the copy.
        """
        setattr(twin, "_name" if hasattr(twin, "_name") else "name", model.name)
        if isinstance(model, self.keras.Model):
            for layer, copied in zip(model.layers, twin.layers, strict=True):
                self.copy_names(layer, copied)

    def kernels_of(self, layer: Any) -> Kernels:
        """Return the weights of a built layer that can be quantized; empty if there are none."""
        if self._is(layer, "SpectralNormalization"):
            return {}
        return self._kernels(layer, set())

    def _kernels(self, layer: Any, seen: set[int]) -> Kernels:
        """Return a layer's own kernels and those of the layers in it, each of these once."""
        seen.add(id(layer))
        own = {} if self._parts_of(layer) else self._own_kernels(layer)
        found = {weight: layout for weight, layout in own.items() if _is_kernel(getattr(layer, weight, None))}
        for path, inner in self._inner_layers(layer):
            if id(inner) not in seen:
                found |= {f"{path}.{weight}": layout for weight, layout in self._kernels(inner, seen).items()}
        return found

    def _inner_layers(self, layer: Any) -> Iterator[tuple[str, Any]]:
        """Give the layers that a layer holds, each with its attribute path."""
        if isinstance(layer, self.keras.Model):
            names: Iterable[str] = ("layers",)
        else:
            names = self._parts_of(layer) or [name for name in vars(layer) if name not in _BOOKKEEPING]
        for name in names:
            held = getattr(layer, name, None)
            items = enumerate(held) if isinstance(held, (list, tuple)) else [(None, held)]
            for index, item in items:
                if isinstance(item, self.keras.layers.Layer):
                    yield name if index is None else f"{name}.{index}", item

    def _parts_of(self, layer: Any) -> tuple[str, ...]:
        return next((parts for kind, parts in _PARTS.items() if self._is(layer, kind)), ())

    def _is(self, layer: Any, *kinds: str) -> bool:
        """Return whether a layer is of one of the kinds, as far as this version of Keras has them."""
        return isinstance(layer, tuple(filter(None, (getattr(self.keras.layers, kind, None) for kind in kinds))))

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
        names = ("kernel", "recurrent_kernel", "embeddings")
        ranks = {name: len(getattr(getattr(layer, name, None), "shape", ())) for name in names}
        return {name: MatrixLayout(tuple(range(rank - 1)), (rank - 1,)) for name, rank in ranks.items() if rank >= 2}

    def _why_left_alone(self, layer: Any) -> str:
        if not layer.weights:
            return "has no weights"
        if self._is(layer, *_NORMALIZATION):
            return "normalisation parameters stay float32"
        if self._is(layer, "SpectralNormalization"):
            return "computes its kernel anew in training; its weights stay float32"
        inner = [part.name for part in layer._flatten_layers(include_self=False)]
        if inner:
            return f"holds other layers ({', '.join(inner)}) in a way that is not known; its weights stay float32"
        names = ", ".join(f"{w.name} {tuple(w.shape)}" for w in layer.weights)
        return f"has no known kernel; its weights stay float32: {names}"


def attribute(layer: Any, path: str) -> Any:
    """Return the attribute of a layer at a dotted path; a number in it indexes a list."""
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
    return np.asarray(attribute(layer, path).numpy()).astype(np.float32, copy=False)


def _step(thing: Any, name: str) -> Any:
    return thing[int(name)] if name.isdigit() else getattr(thing, name)


def _is_kernel(weight: Any) -> bool:
    return hasattr(weight, "numpy") and hasattr(weight, "assign") and len(weight.shape) >= 2


def first_layers(model: Any, has_kernels: Callable[[Any], bool]) -> set[int]:
    """Return the ids of the layers with kernels that the model's input reaches through no other kernel.

    Of a model without a graph (a subclassed one), it is the first layer with kernels.
    """
    found = _reached(model, has_kernels) if _is_graph(model) else set()
    return found or {id(layer) for layer in [layer for layer in _flat(model) if has_kernels(layer)][:1]}


def _reached(model: Any, has_kernels: Callable[[Any], bool]) -> set[int]:
    """Follow the graph from the inputs, through layers without kernels and into nested models."""
    own = {id(step) for step in getattr(model, "operations", model.layers)}
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [tensor._keras_history[0] for tensor in model.inputs]
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if _is_graph(layer):
            inside = _reached(layer, has_kernels)
            found |= inside
            if inside:
                continue
        elif hasattr(layer, "weights") and has_kernels(layer):
            found.add(id(layer))
            continue
        # Keras 2 calls the consumer of a tensor a layer, Keras 3 an operation.
        consumers = [getattr(node, "operation", None) or node.layer for node in layer._outbound_nodes]
        waiting += [consumer for consumer in consumers if id(consumer) in own]
    return found


def _is_graph(model: Any) -> bool:
    return hasattr(model, "layers") and bool(getattr(model, "inputs", None))


def _flat(model: Any) -> list[Any]:
    return [inner for layer in model.layers for inner in (_flat(layer) if hasattr(layer, "layers") else [layer])]
