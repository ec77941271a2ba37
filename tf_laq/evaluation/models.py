"""The models of an evaluation, checked and in the one form that attacks know."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal.validation import one_of, same_outputs
from tf_laq.adapters import check_float, is_keras_model
from tf_laq.attacks.base import Images, Logits, has_gradient
from tf_laq.attacks.cleverhans import cross_entropy
from tf_laq.errors import InputError
from tf_laq.evaluation.classifier import Classifier, SettledClassifier
from tf_laq.evaluation.examples import LOOKED_AT, Examples

Key = tuple[object, ...]

# Number of the first images whose outputs tell models apart.
FINGERPRINT_IMAGES = 4
# Above this share of exact zeros, an attack that follows the gradient is blind. Half of the entries are usual: black
# borders, units that are off. Quantization brings it to four in five and more.
MANY_ZEROS = 0.7
FEW_ZEROS = 0.01
"""The share of zeros above which the second search of a model with a float twin follows a completed gradient."""


@dataclasses.dataclass(frozen=True)
class ZeroGradients:
    """How much of the gradient of the cross-entropy at clean images attacks cannot follow.

    Attributes:
        entries: Share of the entries that are exactly zero, or not finite and so taken as 0.
        images: Share of the images with no other entry.
        non_finite: Share of the entries that are infinite or NaN.
    """

    entries: float
    images: float
    non_finite: float


def zero_gradients(logits: Logits, examples: Examples) -> ZeroGradients | None:
    """Return what is zero in a model's input gradients over the first examples; None if there are no gradients."""
    found = []
    first = examples.first(LOOKED_AT)
    for rows in first:
        images = tf.constant(first.images[rows])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            loss = cross_entropy(first.labels[rows], logits(images))
        gradient = tape.gradient(loss, images)
        if gradient is None:
            return None
        found.append(gradient.numpy().reshape(len(rows), -1))
    gradients = np.concatenate(found)[: len(first.images)]
    non_finite = ~np.isfinite(gradients)
    zero = (gradients == 0.0) | non_finite
    return ZeroGradients(float(zero.mean()), float(zero.all(axis=1).mean()), float(non_finite.mean()))


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate or to make examples on.

    Attributes:
        name: Its name.
        settled: The model as attacks see it.
        data: The examples of the evaluation.
        classifier: The model as it was given.
        described: What tells it apart from others, JSON-ready.
    """

    name: str
    settled: SettledClassifier
    data: Examples
    classifier: Classifier
    described: dict[str, Any]

    @property
    def logits(self) -> Logits:
        """Callable from a float32 tensor of images to a tensor of logits; one object for each model."""
        return self.settled.logits

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.settled.classes

    @property
    def sha256(self) -> str:
        """Of a Keras model's weights; "" for other models."""
        return self.settled.sha256

    @functools.cached_property
    def gradients(self) -> ZeroGradients | None:
        """What is zero in its gradients, found when it is first asked for; None if TensorFlow finds no gradient."""
        return zero_gradients(self.logits, self.data)

    def with_gradients(self, gradients: ZeroGradients | None) -> EvaluatedModel:
        """Return the model with what another process found of its gradients."""
        model = dataclasses.replace(self)
        vars(model)["gradients"] = gradients  # Where the cached property looks.
        return model


@dataclasses.dataclass(frozen=True)
class EvaluatedModels:
    """All models of an evaluation; the full-precision models by the name of the evaluated one."""

    models: list[EvaluatedModel]
    surrogates: list[EvaluatedModel]
    float_twins: Mapping[str, EvaluatedModel]

    @classmethod
    def of(
        cls, models: Mapping[str, Any], surrogates: Mapping[str, Any], float_twins: Mapping[str, Any], data: Examples
    ) -> EvaluatedModels:
        """Check all models on the first batch of the data.

        Raises:
            InputError: A mapping is none, or a model gives no finite logits for these images and labels, or a twin
                belongs to no model or is quantized.
        """
        known: dict[Key, EvaluatedModel] = {}
        evaluated = _evaluated("models", models, data, known)
        for name in float_twins if isinstance(float_twins, Mapping) else ():
            one_of("float_twins", name, [model.name for model in evaluated])
        sources = _evaluated("surrogates", surrogates, data, known)
        twins = _evaluated("float_twins", float_twins, data, known)
        for twin in twins:
            if is_keras_model(twin.classifier.model):
                check_float(f"float_twins[{twin.name!r}]", twin.classifier.model)
        return cls(evaluated, sources, {twin.name: twin for twin in twins})

    @property
    def by_argument(self) -> dict[str, dict[str, EvaluatedModel]]:
        """All models, by the argument of `evaluate` that they came in and by name."""
        return {
            "models": {model.name: model for model in self.models},
            "surrogates": {model.name: model for model in self.surrogates},
            "float_twins": dict(self.float_twins),
        }

    @property
    def described(self) -> dict[str, dict[str, Any]]:
        """What tells all models apart, JSON-ready, by argument and name."""
        return {
            argument: {name: model.described for name, model in some.items()}
            for argument, some in self.by_argument.items()
        }

    def check_sources(self) -> None:
        """Refuse a surrogate or twin that has no gradient to make examples by."""
        for argument, sources in (("surrogates", self.surrogates), ("float_twins", self.float_twins.values())):
            for source in sources:
                if not has_gradient(source.logits, tf.constant(source.data.images[:1])):
                    raise InputError(
                        f"{argument}[{source.name!r}]",
                        expected="a model with a gradient to make examples on",
                        received="no gradient from the logits to the images",
                        remedy="Give the Keras model that it was made from.",
                    )


def _evaluated(
    argument: str, models: Mapping[str, Any], data: Examples, known: dict[Key, EvaluatedModel]
) -> list[EvaluatedModel]:
    """Return the models in the form that attacks know; `known` keeps one for each, whatever its names."""
    if not isinstance(models, Mapping) or (argument == "models" and not models):
        expected = "a mapping from names to models"
        raise InputError(argument, expected=expected, received=repr(models), remedy='Give {"name": model}.')
    classifiers = {name: Classifier.of(model) for name, model in models.items()}
    for name, classifier in classifiers.items():
        if classifier.key not in known:
            known[classifier.key] = _checked(f"{argument}[{name!r}]", classifier, data)
    return [dataclasses.replace(known[each.key], name=str(name)) for name, each in classifiers.items()]


def _checked(argument: str, classifier: Classifier, data: Examples) -> EvaluatedModel:
    numbers = next(iter(data))
    settled = classifier.settled(data.images[numbers], data.labels[numbers], argument)
    return EvaluatedModel("", settled, data, classifier, described(classifier, settled, data.images))


def described(classifier: Classifier, settled: SettledClassifier, images: Images) -> dict[str, Any]:
    """Return what tells a model apart from others, JSON-ready: `same_model` compares it.

    Weights alone do not: an activation, a stride or the factor of a Rescaling is in none of them.
    """
    outputs = np.asarray(settled.logits(tf.constant(images[:FINGERPRINT_IMAGES])), np.float64).tolist()
    return {"sha256": settled.sha256, "settings": classifier.settings, "outputs": outputs}


def same_model(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Return whether two descriptions are of the same model."""
    told = all(mine[name] == theirs[name] for name in ("sha256", "settings"))
    return told and same_outputs(mine["outputs"], theirs["outputs"])
