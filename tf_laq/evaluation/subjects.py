"""The models of an evaluation, checked and in the one form that attacks know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal import archives
from tf_laq._internal.validation import check_logits, one_of
from tf_laq.adapters import is_keras_model, logits_function, logits_of_arrays
from tf_laq.attacks.base import Logits, has_gradient
from tf_laq.errors import InputError
from tf_laq.evaluation.examples import Examples

# Number of the first images whose outputs tell models apart.
FINGERPRINT_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model to evaluate or to make examples on.

    Attributes:
        name: Its name.
        logits: Callable from a float32 tensor of images to a tensor of logits; one object for each model.
        differentiable: Whether TensorFlow finds a gradient from the logits to the images.
        sha256: Of a Keras model's weights; "" for other callables.
        outputs: Its outputs for the first images, as nested lists.
    """

    name: str
    logits: Logits
    differentiable: bool
    sha256: str
    outputs: list[list[float]]


@dataclasses.dataclass(frozen=True)
class Subjects:
    """All models of an evaluation; the full-precision models by the name of the evaluated one."""

    models: list[Subject]
    surrogates: list[Subject]
    float_twins: Mapping[str, Subject]

    @classmethod
    def of(
        cls, models: Mapping[str, Any], surrogates: Mapping[str, Any], float_twins: Mapping[str, Any], data: Examples
    ) -> Subjects:
        """Check all models on the first batch of the data.

        Raises:
            InputError: A mapping is none, or a model gives no finite logits for these images and labels, or a
                surrogate or twin has no gradient, or a twin belongs to no model.
        """
        known: dict[int, Subject] = {}
        evaluated = _subjects("models", models, data, known)
        for name in float_twins if isinstance(float_twins, Mapping) else ():
            one_of("float_twins", name, [model.name for model in evaluated])
        sources = _subjects("surrogates", surrogates, data, known)
        twins = _subjects("float_twins", float_twins, data, known)
        for argument, subjects in (("surrogates", sources), ("float_twins", twins)):
            for subject in subjects:
                if not subject.differentiable:
                    raise InputError(
                        f"{argument}[{subject.name!r}]",
                        expected="a model with a gradient to make examples on",
                        received="no gradient from the logits to the images",
                        remedy="Give the Keras model that it was made from.",
                    )
        return cls(evaluated, sources, {twin.name: twin for twin in twins})


def _subjects(argument: str, models: Mapping[str, Any], data: Examples, known: dict[int, Subject]) -> list[Subject]:
    """Return the models in the form that attacks know; `known` keeps one for each, whatever its names."""
    given = named(argument, models)
    for name, model in given.items():
        if id(model) not in known:
            known[id(model)] = _subject(f"{argument}[{name!r}]", model, data)
    return [dataclasses.replace(known[id(model)], name=name) for name, model in given.items()]


def named(argument: str, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping from names to models after checking that it is one; only that of `models` may not be empty."""
    if not isinstance(models, Mapping) or (argument == "models" and not models):
        expected = "a mapping from names to models"
        raise InputError(argument, expected=expected, received=repr(models), remedy='Give {"name": model}.')
    return {str(name): model for name, model in models.items()}


def _subject(argument: str, model: Any, data: Examples) -> Subject:
    logits = logits_function(model)
    numbers = next(iter(data))
    images = tf.constant(data.images[numbers])
    try:
        outputs = logits(images)
        if not tf.is_tensor(outputs):
            logits = logits_of_arrays(logits)
            outputs = logits(images)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InputError(
            argument,
            expected=f"a model of images of shape {data.images.shape[1:]}",
            received=f"an error from it: {str(error).splitlines()[0]}",
            remedy="Give images of the shape that the model was built for.",
        ) from error
    check_logits(np.asarray(outputs), data.labels[numbers], argument)
    first = np.asarray(logits(tf.constant(data.images[:FINGERPRINT_IMAGES])), np.float64)
    sha256 = archives.sha256(model.get_weights()) if is_keras_model(model) else ""
    return Subject("", logits, has_gradient(logits, images[:1]), sha256, first.tolist())
