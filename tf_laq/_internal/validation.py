"""What attacks and evaluations accept: settings, images, labels and the logits of a model."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Collection, Hashable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.errors import InputError

# The sum of probabilities is off by at most so much in bfloat16.
PROBABILITY_TOLERANCE = 4e-3

# Outputs of one model on the same images differ by less between two processes.
_SAME_OUTPUTS = 1e-3

# What the libraries below take for a seed, a size or a label.
LARGEST_WHOLE = 2**63 - 1


def real(subject: str, value: object, *, minimum: float = 0.0, maximum: float = math.inf) -> None:
    """Refuse a setting that is not a finite number from `minimum` to `maximum`.

    Example:
        >>> real("epsilon", -0.1)
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: epsilon: expected a finite number of at least 0. Received: -0.1.
    """
    if not minimum <= _as_float(value) <= maximum or math.isinf(_as_float(value)):
        bounds = f"of at least {minimum:g}" if math.isinf(maximum) else f"from {minimum:g} to {maximum:g}"
        raise InputError(subject, expected=f"a finite number {bounds}", received=repr(value))


def positive(subject: str, value: object) -> None:
    """Refuse a setting that is not a finite number above 0."""
    if not 0.0 < _as_float(value) < math.inf:
        raise InputError(subject, expected="a number above 0", received=repr(value))


def _as_float(value: object) -> float:
    """Return a number as a float; NaN for what is none, or too large for one."""
    try:
        return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def whole(subject: str, value: object, *, minimum: int = 1, maximum: int = LARGEST_WHOLE) -> None:
    """Refuse a setting that is not a whole number from `minimum` to `maximum`.

    Example:
        >>> whole("steps", 0)
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: steps: expected a whole number of at least 1. Received: 0.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not minimum <= int(value) <= maximum:
        bounds = f"of at least {minimum}" if maximum == LARGEST_WHOLE else f"from {minimum} to {maximum}"
        raise InputError(subject, expected=f"a whole number {bounds}", received=repr(value))


def one_of(subject: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is not one of `choices`.

    Example:
        >>> one_of("norm", "l7", ["linf", "l2"])
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: norm: expected one of linf, l2. Received: 'l7'.
    """
    if not isinstance(value, Hashable) or value not in choices:
        raise InputError(subject, expected=f"one of {', '.join(map(str, choices))}", received=repr(value))


@contextlib.contextmanager
def called_on(shape: tuple[int, ...], subject: str = "model", remedy: str = "") -> Iterator[None]:
    """Explain the errors of a model that does not take images of this shape, in the ways of whatever library it is of.

    Raises:
        InputError: The model raised one of these errors.

    Example:
        >>> with called_on((28, 28, 1)):
        ...     raise ValueError("expected axis -1 to have value 3")
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: model: expected a model of images of shape (28, 28, 1). Received: an error from it: \
expected axis -1 to have value 3.
    """
    try:
        yield
    except InputError:
        raise
    except _errors_of_models() as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        expected = f"a model of images of shape {shape}"
        raise InputError(subject, expected=expected, received=f"an error from it: {said}", remedy=remedy) from error


def _errors_of_models() -> tuple[type[Exception], ...]:
    import tensorflow as tf

    return AttributeError, TypeError, ValueError, tf.errors.OpError


def checked_images(images: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the images as a float32 array with values in [0, 1].

    Args:
        images: Floating-point images (n, height, width, channels), at least one; or signals (n, length, channels), or
            features (n, features), for what needs no image.

    Returns:
        The same values as float32.

    Raises:
        InputError: The images are empty, not floating-point, not of rank 2 to 4, not finite or outside [0, 1].

    Example:
        >>> checked_images(np.zeros((2, 8, 8, 1))).dtype
        dtype('float32')
    """
    array = np.asarray(images)
    expected = "float images of shape (n, height, width, channels) in [0, 1]"
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            "images",
            expected=expected,
            received=f"dtype {array.dtype}",
            remedy="Convert them with images.astype('float32') / 255 if they hold 0 to 255.",
        )
    if array.ndim not in (2, 3, 4):
        raise InputError("images", expected=expected, received=f"shape {array.shape}")
    if array.size == 0:
        raise InputError("images", expected=f"at least one of {expected}", received=f"shape {array.shape}")
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= 0.0 and highest <= 1.0):
        received = "NaN" if math.isnan(lowest) else f"values from {lowest:g} to {highest:g}"
        raise InputError("images", expected=expected, received=received, remedy=_to_unit_range(lowest, highest))
    return array.astype(np.float32, copy=False)


def _to_unit_range(lowest: float, highest: float) -> str:
    """Return what to do with images of another range."""
    if not math.isfinite(highest - lowest):
        return "Replace the values that are not finite."
    if lowest < 0.0:
        return "Scale them to [0, 1] first."
    return "Divide by 255." if 128.0 < highest <= 255.0 else "Divide by their largest possible value."


def checked_indices(indices: npt.ArrayLike | None, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of examples in their data set as an int64 array of shape (count,): 0, 1, ... for None.

    Raises:
        InputError: The indices are not whole numbers from 0, one per image.

    Example:
        >>> checked_indices(None, 3).tolist()
        [0, 1, 2]
    """
    numbers = np.arange(count) if indices is None else np.asarray(indices)
    if numbers.shape != (count,) or not np.issubdtype(numbers.dtype, np.integer) or not _are_from_0(numbers):
        raise InputError(
            "indices",
            expected=f"whole numbers from 0, of shape ({count},)",
            received=f"shape {numbers.shape}, dtype {numbers.dtype}",
        )
    return numbers.astype(np.int64)


def checked_labels(labels: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Return the true labels as an int64 array of shape (count,).

    Args:
        labels: One per image, in a form that Keras takes: whole class numbers from 0, of shape (count,) or (count, 1),
            or one-hot rows of shape (count, classes).
        count: The number of images.

    Returns:
        The class numbers as int64.

    Raises:
        InputError: The labels are neither whole numbers nor one-hot, or negative, or not one per image.

    Example:
        >>> checked_labels([[0, 1], [1, 0]], 2).tolist()
        [1, 0]
    """
    array = np.asarray(labels)
    expected = f"whole class numbers of shape ({count},), or one-hot rows"
    if array.ndim not in (1, 2) or array.shape[0] != count or array.size == 0:
        raise InputError("labels", expected=expected, received=f"shape {array.shape} for {count} images")
    if array.ndim == 2 and array.shape[1] > 1:
        if not np.isin(array, (0, 1)).all() or not (array.sum(axis=1) == 1).all():
            received = f"rows of shape {array.shape} that are not one-hot"
            remedy = "Use np.argmax(labels, axis=1) if they are probabilities of the classes."
            raise InputError("labels", expected=expected, received=received, remedy=remedy)
        return np.asarray(np.argmax(array, axis=1), np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError("labels", expected=expected, received=f"dtype {array.dtype}")
    if not _are_from_0(array):
        received = f"the negative label {array.min()}" if array.min() < 0 else f"the label {array.max()}"
        raise InputError("labels", expected=expected, received=received)
    return array.reshape(count).astype(np.int64, copy=False)


def _are_from_0(numbers: npt.NDArray[Any]) -> bool:
    """Return whether whole numbers are none below 0 as int64 either."""
    return not numbers.size or (numbers.min() >= 0 and numbers.max() <= LARGEST_WHOLE)


def check_logits(logits: npt.NDArray[Any], labels: npt.NDArray[np.int64], subject: str = "model") -> None:
    """Refuse outputs of a model that are not logits for these labels.

    Args:
        logits: The outputs, to be of shape (n, classes).
        labels: The true labels of the n images.
        subject: How the error names the model.

    Raises:
        InputError: The outputs have another shape, fewer classes than the labels need, are not finite, or are
            probabilities: attacks on a softmax output are too weak, since its gradient vanishes.

    Example:
        >>> check_logits(np.array([[0.25, 0.75]]), np.array([1]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: model: expected logits. Received: probabilities: ...
    """
    if logits.ndim != 2 or logits.shape[0] != labels.shape[0] or logits.shape[1] < 2:
        expected = f"logits of shape ({labels.shape[0]}, classes) with at least two classes"
        raise InputError(subject, expected=expected, received=f"shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise InputError(subject, expected="finite logits", received="NaN or infinite outputs")
    if labels.max() >= logits.shape[1]:
        expected = f"class numbers below {logits.shape[1]}, the number of logits of the {subject}"
        raise InputError("labels", expected=expected, received=f"the label {labels.max()}")
    rows_sum_to_one = np.abs(logits.sum(axis=1) - 1.0).max() <= PROBABILITY_TOLERANCE
    if logits.min() >= 0.0 and logits.max() <= 1.0 and rows_sum_to_one:
        raise InputError(
            subject,
            expected="logits",
            received="probabilities: every row is in [0, 1] and sums to 1",
            remedy="Give logits: remove the softmax at the end.",
        )


def same_outputs(mine: npt.ArrayLike, theirs: npt.ArrayLike) -> bool:
    """Return whether outputs for some images can be those of the same model in two processes.

    Example:
        >>> same_outputs([[1.0, 2.0]], [[1.0, 2.0001]]), same_outputs([[1.0, 2.0]], [[1.0, 2.1]])
        (True, False)
    """
    ours, others = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != others.shape:
        return False
    return bool(np.abs(ours - others).max(initial=0.0) <= _SAME_OUTPUTS * max(1.0, np.abs(ours).max(initial=0.0)))
