"""Running statistics of batch normalisations, matched to those of the float model in every pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from tf_laq.adapters import adapter_of
from tf_laq.adapters.kernels import tensorflow_variable
from tf_laq.adapters.observing import observed

# Of float32, after some additions.
_ROUNDING = 1e-5


class Moments(NamedTuple):
    """Mean and variance per channel."""

    mean: tf.Tensor
    variance: tf.Tensor

    @property
    def varies(self) -> tf.Tensor:
        """Whether a channel has more than one value, but for rounding."""
        return tf.sqrt(self.variance) > _ROUNDING * tf.abs(self.mean)


class MatchedStatistics:
    """What keeps the outputs of a model's batch normalisations at the mean and variance that they have in float.

        var' = r (var + e) - e,   mean' = m_q - (m_f - mean) sqrt(r),   r = v_q / v_f

    (m_f, v_f) and (m_q, v_q) are the moments of what a normalisation receives in the float and the quantized model,
    (mean, var) its running statistics in float, and e its epsilon. Layers that are called more than once stay as they
    are.

    Args:
        model: A float model, which will be quantized in place.
        images: The images that all moments are taken of.

    Attributes:
        layers: The normalisations that are matched.
    """

    def __init__(self, model: Any, images: tf.Tensor) -> None:
        adapter = adapter_of(model)
        kind = adapter.keras.layers.BatchNormalization
        layers = [layer for layer in adapter.layers(model) if isinstance(layer, kind)]
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
        self._running = [tuple(variable.numpy() for variable in _variables(layer)) for layer in self.layers]

    @contextlib.contextmanager
    def in_every_call(self) -> Iterator[None]:
        """Match each normalisation when its inputs are there, before it computes; also in functions traced here."""
        with contextlib.ExitStack() as stack:
            for layer, wanted, running in zip(self.layers, self._wanted, self._running, strict=True):
                stack.enter_context(observed(layer, _matcher(layer, wanted, *running)))
            yield

    def restore(self) -> None:
        """Bring back the running statistics of the float model."""
        for layer, running in zip(self.layers, self._running, strict=True):
            for variable, value in zip(_variables(layer), running, strict=True):
                variable.assign(value)


def _matcher(layer: Any, wanted: Moments, mean: Any, variance: Any) -> Callable[[Any], None]:
    def match(inputs: Any) -> None:
        found = _moments(layer, inputs)
        known = found.varies & wanted.varies
        ratio = tf.where(known, found.variance, 1.0) / tf.where(known, wanted.variance, 1.0)
        matched = tf.maximum(variance * ratio + layer.epsilon * (ratio - 1.0), 0.0)
        stretch = tf.sqrt(tf.math.divide_no_nan(matched + layer.epsilon, variance + layer.epsilon))
        shifted = mean * stretch + found.mean - wanted.mean * stretch
        for variable, value in zip(_variables(layer), (shifted, matched), strict=True):
            variable.assign(tf.cast(value, variable.dtype))

    return match


def _variables(layer: Any) -> tuple[Any, Any]:
    return tensorflow_variable(layer.moving_mean), tensorflow_variable(layer.moving_variance)


def _moments(layer: Any, inputs: Any) -> Moments:
    channels = {axis % inputs.shape.rank for axis in tf.nest.flatten(layer.axis)}
    others = [axis for axis in range(inputs.shape.rank) if axis not in channels]
    shape = layer.moving_mean.shape
    return Moments(*(tf.reshape(value, shape) for value in tf.nn.moments(tf.cast(inputs, tf.float32), others)))
