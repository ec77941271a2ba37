"""What the input of a model reaches first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_SMALL_SCALE = 0.1


def first_layers(model: Any, has_kernels: Callable[[Any], bool]) -> set[int]:
    """Return the ids of the layers with kernels that the model's input reaches through no other kernel.

    Of a model without a graph (a subclassed one), it is the first layer with kernels.
    """
    found = _reached(model, has_kernels) if _is_graph(model) else set()
    return found or {id(layer) for layer in [layer for layer in _flat(model) if has_kernels(layer)][:1]}


def first_scale(model: Any) -> float | None:
    """Return the largest factor of a Rescaling that is the first layer of a model, nested or not; None if none is."""
    if not _is_graph(model) or len(model.inputs) != 1:
        return None
    own = {id(step) for step in steps_of(model)}
    steps = [step for step in consumers_of(model.inputs[0]._keras_history[0]) if id(step) in own]
    if len(steps) == 1 and type(steps[0]).__name__ == "Rescaling":
        return float(np.max(np.abs(steps[0].scale)))
    return first_scale(steps[0]) if len(steps) == 1 else None


def takes_bytes(model: Any) -> bool:
    """Return whether the first layer of a model scales [0, 255] down: Rescaling(1 / 255), Rescaling(1 / 127.5, -1)."""
    scale = first_scale(model)
    return scale is not None and scale < _SMALL_SCALE


def steps_of(model: Any) -> list[Any]:
    """Return the steps of a model's graph: layers and, in Keras 3, other operations."""
    return list(getattr(model, "operations", model.layers))


def consumers_of(step: Any) -> list[Any]:
    """Return what takes the outputs of a step, each once, in whatever models they are."""
    # Keras 2 calls the consumer of a tensor a layer, Keras 3 an operation. A Sequential that was loaded has several
    # nodes of the same one.
    return list(dict.fromkeys(getattr(node, "operation", None) or node.layer for node in step._outbound_nodes))


def _reached(model: Any, has_kernels: Callable[[Any], bool]) -> set[int]:
    """Follow the graph from the inputs, through layers without kernels and into nested models."""
    own = {id(step) for step in steps_of(model)}
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
        waiting += [consumer for consumer in consumers_of(layer) if id(consumer) in own]
    return found


def _is_graph(model: Any) -> bool:
    return hasattr(model, "layers") and bool(getattr(model, "inputs", None))


def _flat(model: Any) -> list[Any]:
    return [inner for layer in model.layers for inner in (_flat(layer) if hasattr(layer, "layers") else [layer])]
