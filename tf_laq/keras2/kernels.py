"""Where the weights of tf_keras layers are, and how each kernel is read as a matrix.

| layer | weight | matrix |
| --- | --- | --- |
| Dense, Embedding, recurrent cells | kernel, embeddings, recurrent_kernel (in, out) | (in, out) |
| Conv1D/2D/3D | kernel (k..., c_in / groups, c_out) | (k... c_in, c_out), a block per group |
| Conv1D/2D/3DTranspose | kernel (k..., c_out, c_in) | (k... c_in, c_out) |
| DepthwiseConv1D/2D, SeparableConv1D/2D | depthwise_kernel (k..., c_in, multiplier) | a (k..., multiplier) block each |
| SeparableConv1D/2D | pointwise_kernel (1..., c_in, c_out) | (c_in, c_out) |
| EinsumDense, inside MultiHeadAttention | kernel | by its equation |
| any other layer with an attribute `kernel` | kernel (..., out) | (..., out) |
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tf_keras

from tf_laq import lipschitz
from tf_laq.errors import InputError
from tf_laq.lipschitz import MatrixLayout
from tf_laq.plan import LeftAlone
from tf_laq.sensitivity import WeightTensor

Kernels = dict[str, MatrixLayout]
"""Attribute path of a weight in its layer -> layout."""

_layers = tf_keras.layers

_PARTS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (_layers.Bidirectional, ("forward_layer", "backward_layer")),
    (_layers.RNN, ("cell",)),
    (_layers.ConvLSTM1D, ("cell",)),
    (_layers.StackedRNNCells, ("cells",)),
    (_layers.TimeDistributed, ("layer",)),
    (_layers.MultiHeadAttention, ("_query_dense", "_key_dense", "_value_dense", "_output_dense")),
)
_NORMALIZATION = (
    _layers.BatchNormalization,
    _layers.LayerNormalization,
    _layers.GroupNormalization,
    _layers.UnitNormalization,
    _layers.Normalization,
)


def find_weights(model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
    """Return the weight tensors of a built tf_keras model that can be quantized, and the layers left alone.

    Raises:
        InputError: The model is not built, is quantized already, or has NaN or infinite weights.
    """
    if not model.built:
        raise InputError(
            "model",
            expected="a built model",
            received=f"{type(model).__name__} {model.name!r} without weights",
            remedy="Call model.build(input_shape), or call the model on a batch.",
        )
    tensors, left_alone = [], []
    for path, layer in walk(model):
        if type(layer).__name__ == "QuantizeWrapper":
            raise InputError(
                "model",
                expected="a float model",
                received=f"a quantized one (layer {path!r} is wrapped)",
                remedy="Take it back to plain layers with laq.strip(model).",
            )
        kernels = kernels_of(layer)
        tensors += [WeightTensor(path, weight, values(layer, weight), layout) for weight, layout in kernels.items()]
        if not kernels:
            left_alone.append(LeftAlone(path, type(layer).__name__, _why_left_alone(layer)))
    return tensors, left_alone


def walk(model: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Give every layer of a model once with its path, the layers of nested models as "model/layer"."""
    seen = set() if seen is None else seen
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = f"{prefix}{layer.name}"
        if isinstance(layer, tf_keras.Model):
            yield from walk(layer, f"{path}/", seen)
        elif not isinstance(layer, _layers.InputLayer):
            yield path, layer


def kernels_of(layer: Any) -> Kernels:
    """Return the weights of a built layer that can be quantized; empty if there are none."""
    for kind, parts in _PARTS:
        if isinstance(layer, kind):
            return {
                f"{name}.{weight}": layout
                for part in parts
                for name, inner in _inner_layers(layer, part)
                for weight, layout in kernels_of(inner).items()
            }
    return {
        weight: layout for weight, layout in _own_kernels(layer).items() if _is_kernel(getattr(layer, weight, None))
    }


def attribute(layer: Any, path: str) -> Any:
    """Return the attribute of a layer at a dotted path; a number in it indexes a list."""
    return functools.reduce(_step, path.split("."), layer)


def holder(layer: Any, path: str) -> tuple[Any, str]:
    """Return the object that holds the attribute at a dotted path, and the attribute's name in it."""
    *way, name = path.split(".")
    return functools.reduce(_step, way, layer), name


def values(layer: Any, path: str) -> Any:
    """Return the values of a layer's weight as a float32 array."""
    return np.asarray(attribute(layer, path).numpy()).astype(np.float32, copy=False)


def _step(thing: Any, name: str) -> Any:
    return thing[int(name)] if name.isdigit() else getattr(thing, name)


def _inner_layers(layer: Any, part: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(layer, part)
    if isinstance(inner, (list, tuple)):
        yield from ((f"{part}.{index}", item) for index, item in enumerate(inner))
    else:
        yield part, inner


def _is_kernel(weight: Any) -> bool:
    return hasattr(weight, "numpy") and hasattr(weight, "assign") and len(weight.shape) >= 2


def _own_kernels(layer: Any) -> Kernels:
    if isinstance(layer, (_layers.SeparableConv1D, _layers.SeparableConv2D)):
        rank = layer.rank
        last = MatrixLayout(tuple(range(rank + 1)), (rank + 1,))
        return {"depthwise_kernel": lipschitz.depthwise_convolution(rank), "pointwise_kernel": last}
    if isinstance(layer, (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)):
        return {"depthwise_kernel": lipschitz.depthwise_convolution(layer.rank)}
    if isinstance(layer, (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)):
        return {"kernel": lipschitz.transposed_convolution(layer.rank)}
    if isinstance(layer, (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)):
        layouts = (lipschitz.conv1d, lipschitz.conv2d, lipschitz.conv3d)
        return {"kernel": layouts[layer.rank - 1](layer.groups)}
    if isinstance(layer, _layers.EinsumDense):
        return {"kernel": lipschitz.einsum(layer.equation)}
    names = ("kernel", "recurrent_kernel", "embeddings")
    ranks = {name: len(getattr(getattr(layer, name, None), "shape", ())) for name in names}
    return {name: MatrixLayout(tuple(range(rank - 1)), (rank - 1,)) for name, rank in ranks.items() if rank >= 2}


def _why_left_alone(layer: Any) -> str:
    if not layer.weights:
        return "has no weights"
    if isinstance(layer, _NORMALIZATION):
        return "normalisation parameters stay float32"
    inner = [part.name for part in layer._flatten_layers(include_self=False)]
    if inner:
        return f"holds other layers ({', '.join(inner)}) in a way that is not known; its weights stay float32"
    names = ", ".join(f"{w.name} {tuple(w.shape)}" for w in layer.weights)
    return f"has no known kernel; its weights stay float32: {names}"
