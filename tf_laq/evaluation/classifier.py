"""The seam of an evaluation: from whatever classifies images in [0, 1] to float32 logits of shape (n, classes)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tf_laq._internal import archives
from tf_laq._internal.validation import called_on, check_logits, one_of, real
from tf_laq.adapters import adapter_of, is_keras_model, logits_of_arrays
from tf_laq.adapters.activations import without_activation
from tf_laq.adapters.heads import (
    Activation,
    activation_of,
    activation_of_probabilities,
    class_logits,
    logits_of_probabilities,
    only_output,
)
from tf_laq.adapters.reaching import takes_bytes
from tf_laq.attacks.base import Images, Labels, Logits
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.evaluation.loading import function_of, loaded

Bounds = tuple[float, float]
Outputs = Literal["logits", "probabilities"]
DataFormat = Literal["channels_last", "channels_first"]

UNIT: Bounds = (0.0, 1.0)
BYTES: Bounds = (0.0, 255.0)
# So many channels are usual, and fewer rows and columns than so many are not.
COLOURS = (1, 3)
LEAST_SIDE = 8
FIRST_IMAGES = 32
"""What a classifier is settled on before all else."""


@dataclasses.dataclass(frozen=True)
class SettledClassifier:
    """A classifier in the one form that attacks know.

    Attributes:
        logits: Callable from float32 images in [0, 1] to float32 logits (n, classes); one object for each classifier.
        classes: The number of logits.
        steps: What stands between the model and these logits, in words; none for a model of float32 logits itself.
        sha256: Of a Keras model's weights; "" for other models.
        bounds: The range of images that the model itself takes.
        left_out: The activation at its end that is left out; "" for none.
    """

    logits: Logits
    classes: int
    steps: tuple[str, ...]
    sha256: str
    bounds: Bounds
    left_out: Activation


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, and how images in [0, 1] become its inputs and its outputs become logits.

    `evaluate` and its like take models as they are, which stands for `Classifier(model)`. Attacks see images in [0, 1]
    and channels last, and their epsilon is in these units, whatever the model takes. It is given
    preprocessing(low + images * (high - low)).

    Args:
        model: A Keras model; a callable on tensors or on arrays; a TensorFlow Lite model, or the path of its file; what
            TensorFlow loaded from a SavedModel folder; or the path of a saved Keras model.
        output: Name or position of the output to attack, of a model that has several.
        outputs: "logits"; or "probabilities", whose logarithm is attacked where a softmax or sigmoid cannot be left
            out. None to judge by the values of the first batch: a softmax or sigmoid is left out, or else refused.
        bounds: The range of the model's inputs (low, high). None for (0, 1), or for (0, 255) if the first layer of a
            Keras model is a Rescaling from there.
        preprocessing: Callable on images in these bounds, channels last, that returns what the model takes.
        data_format: "channels_last"; or "channels_first" for a model of images (n, channels, height, width).

    Raises:
        InputError: An argument is not as above.

    Example:
        >>> model = lambda images: tf.reduce_mean(images, [1, 2, 3], keepdims=True)[:, :, 0, 0] - 128.0
        >>> classifier = Classifier(model, bounds=(0, 255))
        >>> settled = classifier.settled(np.full((2, 4, 4, 1), 0.5, np.float32), np.array([0, 0]))
        >>> settled.steps
        ('inputs scaled to [0, 255]', 'one logit read as two classes')
        >>> settled.logits(tf.ones([1, 4, 4, 1])).numpy().tolist()
        [[0.0, 127.0]]
    """

    model: Any
    _: dataclasses.KW_ONLY
    output: str | int | None = None
    outputs: Outputs | None = None
    bounds: Bounds | None = None
    preprocessing: Callable[[Any], Any] | None = None
    data_format: DataFormat = "channels_last"

    def __post_init__(self) -> None:
        one_of("outputs", self.outputs, (None, "logits", "probabilities"))
        one_of("data_format", self.data_format, ("channels_last", "channels_first"))
        if self.preprocessing is not None and not callable(self.preprocessing):
            raise InputError("preprocessing", expected="a callable on images", received=repr(self.preprocessing))
        is_position = isinstance(self.output, int) and not isinstance(self.output, bool) and self.output >= 0
        if not (is_position or isinstance(self.output, (str, type(None)))):
            raise InputError("output", expected="the name or position of an output", received=repr(self.output))
        if self.bounds is not None:
            if not isinstance(self.bounds, (tuple, list)) or len(self.bounds) != 2:
                raise InputError("bounds", expected="two numbers (low, high)", received=repr(self.bounds))
            low, high = self.bounds
            real("bounds", low, minimum=-np.inf)
            real("bounds", high, minimum=-np.inf)
            if low >= high:
                raise InputError("bounds", expected="the lower bound below the higher", received=repr(self.bounds))
            object.__setattr__(self, "bounds", (float(low), float(high)))

    @classmethod
    def of(cls, model: Any) -> Classifier:
        """Return a classifier as it is, and any model as the one of all defaults."""
        return model if isinstance(model, cls) else cls(model)

    @property
    def key(self) -> tuple[object, ...]:
        """What tells classifiers apart while their models are in memory."""
        model = str(self.model) if isinstance(self.model, (str, os.PathLike)) else id(self.model)
        return model, repr(self.settings), id(self.preprocessing)

    @property
    def settings(self) -> dict[str, Any]:
        """All but the model, JSON-ready: a preprocessing by its name."""
        named = getattr(self.preprocessing, "__qualname__", None) or type(self.preprocessing).__name__
        return {
            "output": self.output,
            "outputs": self.outputs,
            "bounds": None if self.bounds is None else list(self.bounds),
            "preprocessing": None if self.preprocessing is None else named,
            "data_format": self.data_format,
        }

    def settled(self, images: Images, labels: Labels, subject: str = "model") -> SettledClassifier:
        """Return the form that attacks know, settled on a first batch.

        Args:
            images: float32 images (n, height, width, channels), or (n, length, channels) or (n, features), in [0, 1].
            labels: int64 labels (n,).
            subject: How errors name the model.

        Raises:
            InputError: There is no such model, it does not take these images, it has several outputs and none is
                chosen, or it gives no finite logits for these labels.
        """
        model, steps = loaded(self.model), list[str]()
        bounds = self._bounds(model, steps)
        prepare = self._preparation(model, bounds, images, steps, subject)
        if is_keras_model(model):
            outputs = adapter_of(model).outputs(model, self.output, subject)
        else:
            function = function_of(model, subject)

            def outputs(inputs: Any) -> Any:
                return only_output(function(inputs), self.output, subject=subject)

        batch = tf.constant(images)
        first, call = _tried(lambda images: outputs(prepare(images)), batch, subject)
        left_out: Activation = ""
        if is_keras_model(model) and self.outputs != "logits":
            call, left_out = without_activation(model, call, batch)
        if left_out:
            steps.append(f"{left_out} at the end left out")
            first = call(batch)
        activation: Activation = "" if left_out else self._activation(first, subject)
        if activation:
            if self.outputs is None:
                _refuse(activation, subject)
            formula = "log(p) - log(1 - p)" if activation == "sigmoid" else "log(p)"
            steps.append(f"probabilities p of a {activation} read as logits {formula}")
        if first.shape.rank == 1 or (first.shape.rank == 2 and first.shape[1] == 1):
            steps.append("one logit read as two classes")
        if first.dtype != tf.float32:
            steps.append(f"{first.dtype.name} outputs cast to float32")

        def logits(images: tf.Tensor) -> tf.Tensor:
            return _logits(call(images), activation)

        values = np.asarray(_logits(first, activation))
        check_logits(values, labels, subject)
        sha256 = archives.sha256(model.get_weights()) if is_keras_model(model) else ""
        return SettledClassifier(logits, values.shape[1], tuple(steps), sha256, bounds, left_out)

    def _bounds(self, model: Any, steps: list[str]) -> Bounds:
        """Return the range of the model's inputs, and tell if it is not that of images."""
        if self.bounds is None and self.preprocessing is None and is_keras_model(model) and takes_bytes(model):
            steps.append("inputs scaled to [0, 255], from which the first layer, a Rescaling, takes them")
            return BYTES
        low, high = self.bounds or UNIT
        if (low, high) != UNIT:
            steps.append(f"inputs scaled to [{low:g}, {high:g}]")
        return low, high

    def _preparation(
        self, model: Any, bounds: Bounds, images: Images, steps: list[str], subject: str
    ) -> Callable[[Any], Any]:
        """Return the function from images to the inputs of the model, and tell its steps."""
        low, high = bounds
        preprocessing = self.preprocessing
        if preprocessing is not None:
            steps.append(f"inputs prepared by {self.settings['preprocessing']}")
        channels_first = self.data_format == "channels_first"
        if channels_first:
            if images.ndim != 4:
                expected = "images of shape (n, height, width, channels) for channels_first"
                raise InputError("images", expected=expected, received=f"shape {images.shape}")
            steps.append("inputs transposed to channels first")
        else:
            _check_layout(model, images, subject, prepared=preprocessing is not None)

        def prepare(images: Any) -> Any:
            inputs = images if (low, high) == UNIT else low + (high - low) * images
            inputs = inputs if preprocessing is None else preprocessing(inputs)
            return tf.transpose(inputs, [0, 3, 1, 2]) if channels_first else inputs

        return prepare

    def _activation(self, first: tf.Tensor, subject: str) -> Activation:
        """Return what the first outputs came through, by what is told of them and by their values."""
        if self.outputs == "logits" or first.shape.rank not in (1, 2):
            return ""
        values = np.asarray(tf.cast(first, tf.float32))
        if self.outputs is None:
            return activation_of(values)
        found = activation_of_probabilities(values)
        if not found:
            received = f"values from {tf.reduce_min(first):g} to {tf.reduce_max(first):g}"
            expected = "probabilities, as outputs='probabilities' says"
            raise InputError(subject, expected=expected, received=received, remedy="Leave outputs out.")
        return found


def settled_on(classifier: Classifier, dataset: Dataset, subject: str = "model") -> SettledClassifier:
    """Return a classifier settled on the first test images of a data set that has its classes.

    Test images alone may lack classes if their labels are numbers.

    Raises:
        InputError: As for `Classifier.settled`, or the data set has another number of classes.
    """
    settled = classifier.settled(dataset.test.images[:FIRST_IMAGES], dataset.test.labels[:FIRST_IMAGES], subject)
    given = len(dataset.classes)
    may_lack_some = dataset.numbered and not len(dataset.train) and given < settled.classes
    if given != settled.classes and not may_lack_some:
        raise InputError(
            "data",
            expected=f"images of {settled.classes} classes, as many as the {subject} has",
            received=f"{dataset.name}, which has {given}",
            remedy="Give images of every class that the model was trained on; or, to test on some of them, an .npz "
            "file of test_images and test_labels alone with the class numbers as labels.",
        )
    return settled


def _logits(outputs: tf.Tensor, activation: Activation) -> tf.Tensor:
    return class_logits(logits_of_probabilities(outputs, activation) if activation else outputs)


def _tried(call: Callable[[Any], Any], batch: tf.Tensor, subject: str) -> tuple[tf.Tensor, Callable[[Any], Any]]:
    """Return the outputs for a batch, and the function: one on arrays as one on tensors."""
    channels = "If they are images, add the channel axis with images[..., None]. " if len(batch.shape) == 3 else ""
    remedy = (
        f"{channels}Give images of the shape that the model was built for, or say how they become its "
        "inputs with Classifier(model, preprocessing=function)."
    )
    with called_on(tuple(batch.shape[1:]), subject, remedy):
        try:
            first = call(batch)
        except (AttributeError, TypeError):  # A function on arrays need not know what a tensor is.
            first = call(batch.numpy())
        if tf.is_tensor(first):
            return first, call
        return tf.convert_to_tensor(np.asarray(first)), logits_of_arrays(call)


def _check_layout(model: Any, images: Images, subject: str, *, prepared: bool) -> None:
    """Refuse images of another shape than a Keras model takes, and with channels first: Square would draw no squares.

    Args:
        model: The model.
        images: The images.
        subject: How the error names the model.
        prepared: Whether a preprocessing may give the images another shape.
    """
    if images.ndim != 4:
        return
    height, width, channels = images.shape[1:]
    if height in COLOURS and channels not in COLOURS and min(width, channels) >= LEAST_SIDE:
        raise InputError(
            "images",
            expected="channels last: images of shape (n, height, width, channels)",
            received=f"shape (n, {height}, {width}, {channels})",
            remedy="Give np.moveaxis(images, 1, -1), and the model as Classifier(model, data_format='channels_first').",
        )
    taken = adapter_of(model).known_input_shape(model) if is_keras_model(model) else None
    if not isinstance(taken, tuple) or len(taken) != 4 or _fits(taken[1:], (height, width, channels)):
        return
    expected = f"a model of images of shape {images.shape[1:]}"
    if _fits(taken[1:], (channels, height, width)):
        received = f"one of shape {taken[1:]}, channels first"
        remedy = "Give Classifier(model, data_format='channels_first')."
        raise InputError(subject, expected=expected, received=received, remedy=remedy)
    if not prepared:
        remedy = "Give images of that shape, or say how they become it with Classifier(model, preprocessing=function)."
        raise InputError(subject, expected=expected, received=f"one of shape {taken[1:]}", remedy=remedy)


def _fits(taken: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return all(side in (None, given) for side, given in zip(taken, shape, strict=True))


def _refuse(activation: Activation, subject: str) -> None:
    sums = "and sums to 1" if activation == "softmax" else "but does not sum to 1, as behind sigmoids"
    raise InputError(
        subject,
        expected="logits",
        received=f"probabilities: every row is in [0, 1] {sums}",
        remedy=f"Give logits: remove the {activation} at the end. Where that cannot be done, "
        "Classifier(model, outputs='probabilities') attacks their logarithms"
        + (", and outputs='logits' says that these are logits." if activation == "sigmoid" else "."),
    )
