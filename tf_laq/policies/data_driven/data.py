"""What data-driven policies read off a model: its kernels as variables, the loss on a batch, its layers' outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import checked_images, checked_labels
from tf_laq.adapters import adapter_of
from tf_laq.adapters.kernels import tensorflow_variable
from tf_laq.adapters.observing import observed

Key = tuple[str, str]
"""Layer path and weight path of a weight tensor."""

_SMALLEST_PROBABILITY = 1e-12


def checked_batch(images: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images and labels as tensors, or raise an `InputError` that names one."""
    batch = checked_images(images)
    return tf.constant(batch), tf.constant(checked_labels(labels, len(batch)))


def kernels(model: Any) -> dict[Key, tf.Variable]:
    """Return the TensorFlow variable of every weight tensor that can be quantized."""
    return {key: tensorflow_variable(variable) for key, variable in adapter_of(model).variables(model).items()}


def cross_entropy(model: Any, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of a model that outputs logits or probabilities, in inference mode."""
    outputs = tf.cast(model(images, training=False), tf.float32)
    logits = logits_of(outputs, are_probabilities(outputs))
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def are_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """Return whether outputs (n, classes) are probabilities: not negative, and 1 in sum for every example."""
    sums = tf.reduce_sum(outputs, axis=1)
    return tf.reduce_all(outputs >= 0) & tf.reduce_all(tf.abs(sums - 1) < 1e-3)


def logits_of(outputs: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return outputs as they are, or their logarithms if they are probabilities."""
    return tf.where(probabilities, tf.math.log(tf.maximum(outputs, _SMALLEST_PROBABILITY)), outputs)


@contextlib.contextmanager
def recorded_outputs(model: Any, paths: Sequence[str]) -> Iterator[Callable[[tf.Tensor], dict[str, tf.Tensor]]]:
    """Give a function from images to the outputs of the layers at these paths, of each layer its last call's."""
    layers = {path: layer for path, layer in adapter_of(model).kinds.walk(model) if path in paths}
    outputs: dict[str, tf.Tensor] = {}

    def recorder(path: str) -> Callable[[Any], None]:
        def record(result: Any) -> None:
            outputs[path] = tf.nest.flatten(result)[0]

        return record

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs.clear()
        model(images, training=False)
        return dict(outputs)

    with contextlib.ExitStack() as stack:
        for path, layer in layers.items():
            stack.enter_context(observed(layer, returns=recorder(path)))
        yield run


def as_float(values: tf.Tensor) -> float:
    """Return a scalar tensor as a float."""
    return float(np.asarray(values))
