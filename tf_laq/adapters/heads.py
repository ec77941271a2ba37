"""What a classifier returns, as logits: the one output of several, at least two classes, and no activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import PROBABILITY_TOLERANCE
from tf_laq.errors import InputError

Activation = Literal["", "softmax", "sigmoid"]
"""What stands between logits and outputs; "" for nothing."""

# So many logits that no sigmoid made are hardly ever all in [0, 1].
_NO_COINCIDENCE = 16
# The smallest normal float32: a probability below it has no logarithm with a finite gradient.
_LEAST = float(np.finfo(np.float32).tiny)


def class_logits(outputs: tf.Tensor) -> tf.Tensor:
    """Return the logits of a classifier as float32 (n, classes): one logit z is two classes, (0, z).

    Args:
        outputs: Logits of any real dtype, of shape (n, classes), or (n,) or (n, 1) for the logit of the second class.

    Returns:
        float32 logits. Outputs of other ranks only change their dtype.

    Example:
        >>> class_logits(tf.constant([2.0, -1.0], tf.float64)).numpy().tolist()
        [[0.0, 2.0], [0.0, -1.0]]
    """
    logits = tf.cast(outputs, tf.float32)
    if logits.shape.rank == 1:
        logits = logits[:, None]
    if logits.shape.rank != 2 or (logits.shape[1] or 1) > 1:
        return logits
    # Functions of arrays do not tell the number of their classes before they run.
    shape = tf.shape(logits)
    zeros = tf.zeros([shape[0], tf.cast(shape[1] == 1, tf.int32)])
    return tf.concat([zeros, logits], 1)


def only_output(outputs: Any, output: str | int | None = None, *, subject: str = "model") -> Any:
    """Return the one output of a model that returns it in a dict, list or tuple, or the chosen one of several.

    Args:
        outputs: What the model returned: a tensor or array, or such in dicts, lists and tuples.
        output: Name or position of the chosen output; None if there is only one.
        subject: How the error names the model.

    Raises:
        InputError: There are several outputs and none is chosen, or there is no such one.

    Example:
        >>> only_output({"logits": 1.0, "features": 2.0}, "logits")
        1.0
        >>> only_output({"logits": 1.0, "features": 2.0})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: model: expected one output. Received: the outputs 'logits', 'features'. Choose ...
    """
    found = list(_leaves(outputs))
    names = ", ".join(repr(name) for name, _ in found)
    if output is None:
        if len(found) == 1:
            return found[0][1]
        received = f"the outputs {names}" if found else "none"
        remedy = f"Choose one: Classifier(model, output={found[0][0]!r})." if found else ""
        raise InputError(subject, expected="one output", received=received, remedy=remedy)
    chosen = [
        value for place, (name, value) in enumerate(found) if output == (place if isinstance(output, int) else name)
    ]
    if len(chosen) != 1 or not _is_container(outputs):
        received = f"the outputs {names}" if _is_container(outputs) else "a model with one output that has no name"
        raise InputError(subject, expected=f"an output {output!r}", received=received)
    return chosen[0]


def activation_of(outputs: npt.NDArray[Any]) -> Activation:
    """Return the activation that outputs look as if they had come through, judged by their values.

    Outputs in [0, 1] are probabilities: of a softmax where each row sums to 1, else of sigmoids. Rows that only have
    zeros and ones are logits unless they sum to 1, and so are fewer values than would be a coincidence.

    Args:
        outputs: Floats of shape (n, classes), of one unit (n,) or (n, 1), or (0, z) as `class_logits` gives for that.

    Example:
        >>> [activation_of(np.array([row] * 8)) for row in ([0.25, 0.75], [0.9, 0.8], [-1.0, 2.0])]
        ['softmax', 'sigmoid', '']
    """
    values = np.asarray(outputs, np.float32)
    found = activation_of_probabilities(values)
    between = ((values > 0.0) & (values < 1.0)).any()
    return "" if found == "sigmoid" and not (between and _units(values).size >= _NO_COINCIDENCE) else found


def activation_of_probabilities(outputs: npt.NDArray[Any]) -> Activation:
    """Return the activation of outputs that are said to be probabilities; "" if they are none.

    Args:
        outputs: As for `activation_of`.

    Example:
        >>> [activation_of_probabilities(np.array([row])) for row in ([0.25, 0.75], [0.9], [-1.0, 2.0])]
        ['softmax', 'sigmoid', '']
    """
    values = _units(np.asarray(outputs, np.float32))
    if not values.size or not np.isfinite(values).all() or values.min() < 0.0 or values.max() > 1.0:
        return ""
    if values.shape[1] > 1 and np.abs(values.sum(axis=1) - 1.0).max() <= PROBABILITY_TOLERANCE:
        return "softmax"
    return "sigmoid"


def _units(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return one column for each output unit: two classes of one logit have a first column of zeros."""
    values = values.reshape(len(values), -1)
    return values[:, 1:] if values.shape[1] == 2 and not values[:, 0].any() else values


def logits_of_probabilities(probabilities: tf.Tensor, activation: Activation) -> tf.Tensor:
    """Return logits that give these probabilities: log(p) of a softmax, log(p) - log(1 - p) of sigmoids.

    Probabilities below the smallest float32 are raised to it, so that values and gradients are finite.

    Args:
        probabilities: float tensor in [0, 1].
        activation: What they came through.

    Example:
        >>> logits_of_probabilities(tf.constant([[0.5, 0.5]]), "sigmoid").numpy().tolist()
        [[0.0, 0.0]]
    """
    p = tf.cast(probabilities, tf.float32)
    logarithm = tf.math.log(tf.maximum(p, _LEAST))
    return logarithm - tf.math.log(tf.maximum(1.0 - p, _LEAST)) if activation == "sigmoid" else logarithm


def _leaves(outputs: Any, name: str | int = 0) -> Iterator[tuple[str | int, Any]]:
    """Give the outputs in a container, each with its key or, in lists, its position."""
    if not _is_container(outputs):
        yield name, outputs
        return
    fields = getattr(outputs, "_fields", None)  # Of a named tuple.
    named = (
        outputs.items() if isinstance(outputs, Mapping) else zip(fields or range(len(outputs)), outputs, strict=True)
    )
    for key, value in named:
        yield from _leaves(value, key)


def _is_container(outputs: Any) -> bool:
    """Return whether outputs are in a container; a list of numbers, as functions of arrays return it, is none."""
    if not isinstance(outputs, (list, tuple)):
        return isinstance(outputs, Mapping)
    return all(getattr(each, "shape", ()) != () or _is_container(each) for each in outputs)
