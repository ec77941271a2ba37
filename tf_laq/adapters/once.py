"""Quantizing weights once for several calls of a model, between which they do not change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from tf_laq.adapters import kernels
from tf_laq.adapters.dispatch import adapter_of
from tf_laq.quantizers import Quantizer
from tf_laq.quantizers.base import with_gradient_of

_QUANTIZED: ContextVar[Mapping[tuple[int, Quantizer], Any]] = ContextVar("quantized")
_SHAPES_ONLY: ContextVar[bool] = ContextVar("shapes_only", default=False)


@contextlib.contextmanager
def quantized_once(model: Any) -> Iterator[None]:
    """Let all calls of a model, within the context and the graph that it is opened in, share its quantized weights.

    A training step calls the network once for each step of its attack, and would quantize the same weights each time.
    Nothing happens outside of a graph: CleverHans keeps the graph of a call, in which the weights would stay as they
    were. For the same reason an attack needs a function of its own for each context (see `loss_gradient`).

    Args:
        model: Any Keras model, with wrapped layers or without.
    """
    quantized = {} if tf.executing_eagerly() else _quantized_weights(model)
    token = _QUANTIZED.set(quantized)
    try:
        yield
    finally:
        _QUANTIZED.reset(token)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Let `quantize` return the weights as they are: for calls that are made to see the shapes of what comes out."""
    token = _SHAPES_ONLY.set(True)
    try:
        yield
    finally:
        _SHAPES_ONLY.reset(token)


def quantize(weights: Any, variable: Any, quantizer: Quantizer) -> Any:
    """Return `quantizer.straight_through(weights)`, with what is known of the variable that the weights come from."""
    if _SHAPES_ONLY.get():
        return weights
    quantized = _QUANTIZED.get({}).get((id(variable), quantizer))
    return quantizer.straight_through(weights) if quantized is None else with_gradient_of(weights, quantized)


def _quantized_weights(model: Any) -> dict[tuple[int, Quantizer], Any]:
    adapter = adapter_of(model)
    found = {}
    for part in (model, *adapter.layers(model)):
        weights = adapter.wrapped_weights(part) if isinstance(part, adapter.wrappers) else {}
        if kernels.has_weights(getattr(part, "layer", part), weights):
            for path, quantizer in weights.items():
                variable = kernels.wide_variable(kernels.attribute(part.layer, path))
                found[id(variable), quantizer] = quantizer.straight_through(tf.convert_to_tensor(variable))
    return found
