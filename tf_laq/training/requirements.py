"""What adversarial training needs of a network, its loss and its images; all else is refused before it begins."""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal.batches import in_batches, only_input
from tf_laq.adapters import adapter_of
from tf_laq.adapters.heads import activation_of, class_logits, only_output
from tf_laq.errors import InputError

RANGE = "images in [0, 1]"
DIVIDE = "Divide images of 0 to 255 by 255."

_MOST_LEFT = 0.1

# Logits of images far from [0, 1] are far from it too; what has come through a softmax or sigmoid never is.
_SCALES = [sign * 2.0**power for power in range(8) for sign in (1.0, -1.0)]


def check_network(keras: Any, model: Any) -> None:
    """Refuse a network that would not be trained by the loss that the user sees, or that ends in a softmax.

    Args:
        keras: The version of Keras of the model.
        model: The network.
    """
    for step in ("train_step", "compute_loss"):
        if getattr(type(model), step) is not getattr(keras.Model, step):
            raise InputError(
                "model",
                expected="a network that leaves training to Keras",
                received=f"{type(model).__name__} {model.name!r}, whose own {step} would not be called",
                remedy="Put it into keras.Sequential([keras.Input(shape), model]), and give its loss to compile.",
            )
    last: Any = model.layers[-1] if model.layers else None
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        raise _not_logits(f"one that ends with the softmax of layer {last.name!r}", "softmax")


class RunningStatisticsWarning(UserWarning):
    """A training is too short for the running statistics of a network's batch normalisation."""


def check_steps(model: Any, steps: int) -> None:
    """Warn if batch normalisations will still hold much of the statistics that they were made with.

    After n steps, momentum^n of these is left. A network looks trained by its loss then, and computes nonsense.

    Args:
        model: The network; statistics that are not those of a new layer are taken for its own.
        steps: Number of steps of the training.

    Warns:
        RunningStatisticsWarning: More than a tenth will be left.
    """
    adapter = adapter_of(model)
    for layer in adapter.layers(model):
        if adapter.kinds.is_batch_norm(layer) and not np.any(layer.moving_mean):
            left = layer.momentum**steps
            if left > _MOST_LEFT:
                warnings.warn(
                    f"Layer {layer.name!r}: after the {steps} steps of this training, {100 * left:.0f} % of its "
                    f"running statistics will still be what it was made with (momentum {layer.momentum}). Train "
                    "longer, or set the momentum of the batch normalisations lower, such as 0.9.",
                    RunningStatisticsWarning,
                    stacklevel=2,
                )
                return


def check_loss(keras: Any, loss: Any) -> None:
    """Refuse a loss of probabilities, whether an object, a function or a name.

    Args:
        keras: The version of Keras that the loss is of.
        loss: What `compile` got: one loss, or several in a list or dict.
    """
    for each in tf.nest.flatten(loss):
        if _takes_probabilities(keras, each):
            raise InputError(
                "loss",
                expected="a loss of logits",
                received=f"{each!r}, which takes probabilities",
                remedy=(
                    f"Use {keras.__name__}.losses.SparseCategoricalCrossentropy(from_logits=True), or "
                    "BinaryCrossentropy(from_logits=True) for a network of one logit."
                ),
            )


def _takes_probabilities(keras: Any, loss: Any) -> bool:
    if isinstance(loss, str):
        with contextlib.suppress(ValueError):  # Keras says what is wrong with the name.
            loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return isinstance(loss, keras.losses.KLDivergence) or loss.get_config().get("from_logits") is False
    settings = loss.keywords if isinstance(loss, functools.partial) else {}
    function = loss.func if isinstance(loss, functools.partial) else loss
    name, module = getattr(function, "__name__", ""), str(getattr(function, "__module__", ""))
    of_keras = module.partition(".")[0] in ("keras", "tf_keras")
    return of_keras and name.endswith(("crossentropy", "kl_divergence")) and not settings.get("from_logits", False)


def check_outputs(model: Any, inputs: Any) -> None:
    """Refuse a network with several outputs, or with outputs that have come through a softmax or sigmoid.

    The outputs tell, whatever layer or function made them.

    Args:
        model: The network.
        inputs: Inputs that it can be called on.
    """
    found = []
    for scale in _SCALES:
        scaled = tf.nest.map_structure(lambda values, by=scale: values * tf.cast(by, values.dtype), inputs)
        outputs = class_logits(only_output(model(scaled, training=False)))
        found.append(np.asarray(outputs).reshape(len(outputs), -1))
    values = np.concatenate(found)
    activation = activation_of(values[np.isfinite(values).all(axis=1)])
    if activation:
        what = "every row is in [0, 1] and sums to 1" if activation == "softmax" else "every value is in [0, 1]"
        raise _not_logits(f"the outputs of a {activation}: {what}", activation)


def check_range(argument: str, images: Any) -> None:
    """Refuse an array of images with values outside [0, 1]; what batches hold shows when they come."""
    if images is None or in_batches(images):
        return
    values = np.asarray(only_input(images))
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        received = f"values from {values.min():g} to {values.max():g}"
        raise InputError(argument, expected=RANGE, received=received, remedy=DIVIDE)


def assert_range(images: tf.Tensor) -> None:
    """Stop in a graph on images outside [0, 1], which the projection would otherwise turn into noise."""
    message = f"AdversarialModel: images: expected {RANGE}. {DIVIDE}"
    images = tf.cast(images, tf.float32)
    tf.debugging.assert_less_equal(tf.reduce_max(images), 1.0, message)
    tf.debugging.assert_greater_equal(tf.reduce_min(images), 0.0, message)


def _not_logits(received: str, activation: str) -> InputError:
    return InputError(
        "model",
        expected="a network whose outputs are logits",
        received=received,
        remedy=f"Leave the {activation} out, and train with a loss that has from_logits=True.",
    )
