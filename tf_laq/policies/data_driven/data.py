"""What data-driven policies read off a model: its kernels as variables, the loss on a batch, its layers' outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.batches import ImageData, images_and_labels
from tf_laq._internal.validation import called_on, checked_images, checked_labels
from tf_laq.adapters import adapter_of
from tf_laq.adapters.kernels import tensorflow_variable
from tf_laq.adapters.observing import observed
from tf_laq.errors import InputError

Key = tuple[str, str]
"""Layer path and weight path of a weight tensor."""

_SMALLEST_PROBABILITY = 1e-12


def checked_batch(model: Any, images: ImageData, labels: npt.ArrayLike | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images and labels as tensors, or raise an `InputError` that names one or the model."""
    adapter_of(model)
    images, labels = images_and_labels(images, labels)
    batch = checked_images(images)
    numbers = checked_labels(labels, len(batch))
    with called_on(batch.shape[1:]):
        classes = model(tf.constant(batch[:1]), training=False).shape[-1]
    if numbers.max() >= classes:
        expected = f"class numbers below {classes}, the number of the model's outputs"
        raise InputError("labels", expected=expected, received=f"the label {numbers.max()}")
    return tf.constant(batch), tf.constant(numbers)


def kernels(model: Any) -> dict[Key, tf.Variable]:
    """Return the TensorFlow variable of every weight tensor that can be quantized."""
    return {key: tensorflow_variable(variable) for key, variable in adapter_of(model).variables(model).items()}


def cross_entropy(model: Any, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of a model that outputs logits or probabilities, in inference mode."""
    outputs = tf.cast(model(images, training=False), tf.float32)
    sums = tf.reduce_sum(outputs, axis=1)
    probabilities = tf.reduce_all(outputs >= 0) & tf.reduce_all(tf.abs(sums - 1) < 1e-3)
    logits = tf.where(probabilities, tf.math.log(tf.maximum(outputs, _SMALLEST_PROBABILITY)), outputs)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


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
