"""How far the predictions of a model move where some of its weight tensors are quantized."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal.validation import check_logits
from tf_laq.adapters import adapter_of
from tf_laq.adapters.signature import signature_of
from tf_laq.attacks.base import Images
from tf_laq.errors import InputError
from tf_laq.policies.data_driven.data import Key, as_float, kernels
from tf_laq.policies.data_driven.statistics import MatchedStatistics
from tf_laq.quantizers import Quantizer

LARGEST = -math.log(1e-12)
"""No image counts more than this; where the outputs are not finite, it counts this."""


class Divergence:
    """The mean over images of KL(p || q): p the class probabilities of a model, q the same with quantized tensors.

    The statistics of batch normalisations are matched in every measurement: their shift adds up over the layers and
    hides what else a setting does, and it is what `training.match_statistics` takes away at no cost. A plan for
    WRN-32-4 with 2.6 bits that was chosen so had half the divergence, once its statistics were matched, and no more
    than the other where they were not.

    Args:
        model: A built Keras model of images, whose outputs are logits or probabilities; it stays as it is.
        images: float32 images (n, height, width, channels).

    Raises:
        InputError: The model cannot be copied, has several outputs, or its outputs are of another kind.

    Example:
        >>> import tf_keras
        >>> from tf_laq import quantizers
        >>> model = tf_keras.Sequential([tf_keras.Input((1, 1, 2)), tf_keras.layers.Flatten()])
        >>> model.add(tf_keras.layers.Dense(2, kernel_initializer="identity", name="dense"))
        >>> divergence = Divergence(model, np.ones((1, 1, 1, 2), np.float32))
        >>> divergence({("dense", "kernel"): quantizers.get("linear", 2)})
        0.0
    """

    def __init__(self, model: Any, images: Images) -> None:
        batch = tf.constant(images)
        twin = adapter_of(model).copy(model)
        self._variables = kernels(twin)
        self._statistics = MatchedStatistics(twin, batch)
        outputs = adapter_of(twin).logits(twin)
        self._plain = tf.function(lambda: outputs(batch)).get_concrete_function()
        with self._statistics.in_every_call():
            self._matched = tf.function(lambda: outputs(batch)).get_concrete_function()
        logits = self._plain()
        check_logits(logits.numpy(), np.argmax(logits, axis=1))
        self._before = tf.nn.log_softmax(logits)

    @property
    def matches(self) -> bool:
        """Whether there are statistics to match."""
        return bool(self._statistics.layers)

    def __call__(self, settings: Mapping[Key, Quantizer]) -> float:
        """Return the divergence with these tensors quantized, all others in float, and matched statistics."""
        try:
            return self._measured(settings, self._matched)
        finally:
            self._statistics.restore()

    def unmatched(self, settings: Mapping[Key, Quantizer]) -> float:
        """Return the same with the statistics as they are."""
        return self._measured(settings, self._plain)

    def _measured(self, settings: Mapping[Key, Quantizer], run: Callable[[], tf.Tensor]) -> float:
        before = {key: self._variables[key].numpy() for key in settings}
        try:
            for key, quantizer in settings.items():
                self._assign(key, quantizer.quantize(before[key]))
            after = tf.nn.log_softmax(run())
        finally:
            for key, values in before.items():
                self._assign(key, values)
        each = tf.reduce_sum(tf.exp(self._before) * (self._before - after), axis=1)
        each = tf.where(tf.math.is_finite(each), tf.clip_by_value(each, 0.0, LARGEST), LARGEST)
        return as_float(tf.reduce_mean(each))

    def _assign(self, key: Key, values: Any) -> None:
        variable = self._variables[key]
        variable.assign(values.astype(variable.dtype.as_numpy_dtype, copy=False))


def check_one_input(model: Any) -> None:
    """Raise an `InputError` that names the inputs of a model that has several."""
    adapter = adapter_of(model)
    if adapter.known_input_shape(model) is None:
        return
    try:
        adapter.input_shape(model)
    except InputError as error:
        names = ", ".join(each.name for each in signature_of(model).inputs)
        raise InputError("model", expected="one input, the images", received=f"the inputs {names}") from error
