"""Running statistics of batch normalisations, matched to those of the float model in every pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tf_laq.adapters import adapter_of
from tf_laq.adapters.kernels import tensorflow_variable
from tf_laq.adapters.normalisation import Moments, matched_statistics
from tf_laq.adapters.observing import observed


class MatchedStatistics:
    """What keeps the outputs of a model's batch normalisations at the mean and variance that they have in float.

    The formula is that of `adapters.normalisation`. Layers that are called more than once stay as they are.

    Args:
        model: A float model, which will be quantized in place.
        images: The images that all moments are taken of.

    Attributes:
        layers: The normalisations that are matched.
    """

    def __init__(self, model: Any, images: tf.Tensor) -> None:
        adapter = adapter_of(model)
        layers = [layer for layer in adapter.layers(model) if adapter.kinds.is_batch_norm(layer)]
        found: dict[int, list[Moments]] = {}

        def recorder(layer: Any) -> Callable[[Any], None]:
            return lambda inputs: found.setdefault(id(layer), []).append(_moments(layer, inputs))

        with contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(observed(layer, recorder(layer)))
            if layers:
                model(images, training=False)
        self.layers = [layer for layer in layers if len(found.get(id(layer), ())) == 1]
        self._wanted = [found[id(layer)][0] for layer in self.layers]
        self._running = [_running(layer) for layer in self.layers]

    @contextlib.contextmanager
    def in_every_call(self) -> Iterator[None]:
        """Match each normalisation when its inputs are there, before it computes; also in functions traced here."""
        with contextlib.ExitStack() as stack:
            for layer, wanted, running in zip(self.layers, self._wanted, self._running, strict=True):
                stack.enter_context(observed(layer, _matcher(layer, wanted, running)))
            yield

    def restore(self) -> None:
        """Bring back the running statistics of the float model."""
        for layer, running in zip(self.layers, self._running, strict=True):
            for variable, value in zip(_variables(layer), running, strict=True):
                variable.assign(value)


def _matcher(layer: Any, wanted: Moments, running: Moments) -> Callable[[Any], None]:
    def match(inputs: Any) -> None:
        matched = matched_statistics(running, layer.epsilon, _moments(layer, inputs), wanted)
        for variable, value in zip(_variables(layer), matched, strict=True):
            variable.assign(tf.cast(value, variable.dtype))

    return match


def _running(layer: Any) -> Moments:
    mean, variance = (variable.numpy() for variable in _variables(layer))
    return mean, variance


def _variables(layer: Any) -> tuple[Any, Any]:
    return tensorflow_variable(layer.moving_mean), tensorflow_variable(layer.moving_variance)


def _moments(layer: Any, inputs: Any) -> Moments:
    channels = {axis % inputs.shape.rank for axis in tf.nest.flatten(layer.axis)}
    others = [axis for axis in range(inputs.shape.rank) if axis not in channels]
    shape = layer.moving_mean.shape
    mean, variance = (tf.reshape(value, shape) for value in tf.nn.moments(tf.cast(inputs, tf.float32), others))
    return mean, variance
