"""Accuracy against the strength of an attack, and the smallest perturbation that breaks each example."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from typing_extensions import Self

from tf_laq._internal.batches import ImageData
from tf_laq._internal.documents import Count, Document, Size, convert
from tf_laq._internal.progress import progress_bar
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of, real
from tf_laq.attacks import registry
from tf_laq.attacks.base import Attack, BallAttack, MinimumNormAttack
from tf_laq.errors import InputError
from tf_laq.evaluation.examples import Examples
from tf_laq.evaluation.models import EvaluatedModels
from tf_laq.evaluation.plausibility import check_attacks
from tf_laq.evaluation.statistics import Share

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyCurve(Document):
    """Accuracy of models under one attack at several strengths.

    An example broken at one epsilon counts as broken at every larger one, whose ball holds the same image: the curve
    never rises.

    Attributes:
        attack: The attack, at any epsilon.
        epsilons: The strengths in pixel units, rising from 0, which is no attack.
        broken_at: For each model, and each of the N examples, the number of the first epsilon that breaks it;
            `len(epsilons)` where none does.
        seed: Seed of the random attacks.

    Raises:
        InputError: The models have different numbers of examples, or none.

    Example:
        >>> attack = registry.get("fgsm", epsilon=0.1)
        >>> curve = AccuracyCurve(attack=attack, epsilons=(0.0, 0.1), broken_at={"m": (1, 2, 0, 2)}, seed=0)
        >>> [curve.accuracy("m", epsilon).value for epsilon in curve.epsilons]
        [0.75, 0.5]
    """

    document: ClassVar[str] = "tf_laq accuracy curve"
    version: ClassVar[int] = 2

    attack: BallAttack
    epsilons: tuple[float, ...]
    broken_at: Mapping[str, tuple[int, ...]]
    seed: int

    def __post_init__(self) -> None:
        _same_counts(self.broken_at)

    @property
    def count(self) -> int:
        """Number of examples N."""
        return len(next(iter(self.broken_at.values())))

    def accuracy(self, model: str, epsilon: float) -> Share:
        """Return the share of examples that a model gets right at one of the epsilons.

        Raises:
            InputError: The curve has no such model or epsilon.
        """
        one_of("model", model, self.broken_at)
        one_of("epsilon", epsilon, self.epsilons)
        place = self.epsilons.index(epsilon)
        return Share(sum(first > place for first in self.broken_at[model]), self.count)

    def to_csv(self) -> str:
        """Return one line per model and epsilon: accuracy and its 95 % Wilson interval, in percent."""
        rows = []
        for model in self.broken_at:
            for epsilon in self.epsilons:
                share = self.accuracy(model, epsilon)
                rows.append([model, f"{epsilon:g}", *(f"{100 * v:.2f}" for v in (share.value, *share.interval))])
        return _csv(["model", "epsilon", "accuracy", "lower", "upper"], rows)

    def __str__(self) -> str:
        rows = [
            [f"{epsilon:g}", *(str(self.accuracy(model, epsilon)) for model in self.broken_at)]
            for epsilon in self.epsilons
        ]
        title = f"Accuracy (%) under {self.attack.name} ({self.attack.norm}) by epsilon, N = {self.count}, [95 %]"
        return f"{title}\n{tabulate(rows, ['epsilon', *self.broken_at], disable_numparse=True)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {**super().to_dict(), "attack": self.attack.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Build the curve from what `to_dict` returned."""
        read = convert(content, _Curve)
        return cls(**{**vars(read), "attack": _checked_attack(registry.from_dict(read.attack))})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Curve:
    """A curve in JSON."""

    attack: dict[str, Any]
    epsilons: tuple[Size, ...]
    broken_at: Mapping[str, tuple[Count, ...]]
    seed: Count


@typed
def accuracy_curve(
    models: Mapping[str, Any],
    images: ImageData,
    labels: npt.ArrayLike | None = None,
    *,
    attack: Attack,
    epsilons: Iterable[float],
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> AccuracyCurve:
    """Measure the accuracy of models under an attack of growing strength.

    An example that is broken is not attacked again at larger epsilons. A curve tells as much as its attack: one that
    follows gradients overstates models that hide them, such as quantized ones; compare with `square`.

    Args:
        models: Name to model, as `evaluate` takes them.
        images: Floating-point images or batches, as `evaluate` takes them.
        labels: True classes; none beside batches.
        attack: An attack inside a ball. Its epsilon is replaced, and a given step size grows in proportion.
        epsilons: Radii of the ball in pixel units, above 0 and rising; 0, no attack, is put before them.
        batch_size: Largest number of images attacked at a time.
        seed: Seed of the random attacks, at least 0.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Raises:
        InputError: An argument is not as above.

    Example:
        >>> import tensorflow as tf
        >>> brightness = lambda images: tf.reduce_sum(images - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> images = np.array([0.1, 0.4, 0.6, 0.9]).reshape(4, 1, 1, 1)
        >>> attack = registry.get("fgsm", epsilon=0.1)
        >>> curve = accuracy_curve({"m": brightness}, images, [0, 0, 1, 1], attack=attack, epsilons=[0.2, 0.5])
        >>> curve.broken_at["m"]
        (2, 1, 1, 2)
    """
    strengths = (0.0, *_checked_epsilons(epsilons))
    steps = [_checked_attack(attack).with_epsilon(epsilon) for epsilon in strengths[1:]]
    data, broken_at = Examples.checked(images, labels, None, batch_size, seed), {}
    check_attacks({"attack": steps[-1]}, data.images)
    evaluated = EvaluatedModels.of(models, {}, {}, data).models
    with progress_bar(shown=progress, total=len(evaluated) * len(steps), unit="epsilon") as bar:
        for model in evaluated:
            bar.set_description(model.name)
            first = np.where(data.correct(model.logits, data.images), len(strengths), 0)
            for place, stronger in enumerate(steps, start=1):
                standing = first == len(strengths)
                if standing.any():
                    left = data.only(standing)
                    right = left.correct(model.logits, left.attacked(stronger, model.logits))
                    first[np.flatnonzero(standing)[~right]] = place
                bar.update()
            broken_at[model.name] = tuple(first.tolist())
    return AccuracyCurve(attack=_checked_attack(attack), epsilons=strengths, broken_at=broken_at, seed=int(seed))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinimalPerturbations(Document):
    """The smallest perturbation that an attack found for each example.

    Attributes:
        attack: The attack, which looks for the nearest adversarial image.
        distortions: For each model, the L2 distances of the N examples in pixel units: 0 where the model errs without
            an attack, infinite where nothing was found.
        seed: Seed of the attack.

    Raises:
        InputError: The models have different numbers of examples, or none.

    Example:
        >>> found = MinimalPerturbations(
        ...     attack=registry.get("ddn"), distortions={"m": (0.0, 0.5, 1.5, math.inf)}, seed=0
        ... )
        >>> found.quantile("m", 0.5), found.accuracy("m", 1.0).value
        (1.5, 0.5)
    """

    document: ClassVar[str] = "tf_laq minimal perturbations"
    version: ClassVar[int] = 2

    attack: MinimumNormAttack
    distortions: Mapping[str, tuple[float, ...]]
    seed: int

    def __post_init__(self) -> None:
        _same_counts(self.distortions)

    @property
    def count(self) -> int:
        """Number of examples N."""
        return len(next(iter(self.distortions.values())))

    def accuracy(self, model: str, budget: float) -> Share:
        """Return the share of all examples that the model gets right under perturbations of at most `budget`."""
        one_of("model", model, self.distortions)
        real("budget", budget)
        return Share(sum(distance > budget for distance in self.distortions[model]), self.count)

    def quantile(self, model: str, share: float) -> float:
        """Return the distance within which this share is broken of the examples that are right without an attack.

        It is infinite where fewer were broken, and 0 if no example is right.
        """
        one_of("model", model, self.distortions)
        real("share", share, maximum=1.0)
        right = sorted(distance for distance in self.distortions[model] if distance > 0.0)
        return right[max(math.ceil(share * len(right)) - 1, 0)] if right else 0.0

    def to_csv(self) -> str:
        """Return one line per model and example."""
        rows = [[m, i, f"{v:.6g}"] for m, values in self.distortions.items() for i, v in enumerate(values)]
        return _csv(["model", "example", "distortion"], rows)

    def __str__(self) -> str:
        rows = [[m, str(self.accuracy(m, 0.0)), *(self.quantile(m, q) for q in QUANTILES)] for m in self.distortions]
        headers = ["model", "clean accuracy [95 %]", *(f"{100 * share:g} %" for share in QUANTILES)]
        title = f"L2 distance within which {self.attack.name} breaks a share of what is right, N = {self.count}"
        return f"{title}\n{tabulate(rows, headers, floatfmt='.3f')}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values: None stands for infinity."""
        finite = {m: [v if math.isfinite(v) else None for v in values] for m, values in self.distortions.items()}
        return {"attack": self.attack.to_dict(), "distortions": finite, "seed": self.seed}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Build the result from what `to_dict` returned."""
        read = convert(content, _Minimal)
        distortions = {
            model: tuple(math.inf if value is None else value for value in values)
            for model, values in read.distortions.items()
        }
        attack = _checked_minimum_norm(registry.from_dict(read.attack))
        return cls(attack=attack, distortions=distortions, seed=read.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Minimal:
    """Minimal perturbations in JSON."""

    attack: dict[str, Any]
    distortions: Mapping[str, tuple[Size | None, ...]]
    seed: Count


@typed
def minimal_perturbations(
    models: Mapping[str, Any],
    images: ImageData,
    labels: npt.ArrayLike | None = None,
    *,
    attack: Attack,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> MinimalPerturbations:
    """Search for the smallest perturbation that breaks each example, whatever the attack's budget.

    Arguments and errors are those of `accuracy_curve`; the attack is a minimum-norm one, such as `ddn` or `cw_l2`.

    Example:
        >>> import tensorflow as tf
        >>> brightness = lambda images: tf.reduce_sum(images - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> images = np.array([0.2, 0.6]).reshape(2, 1, 1, 1)
        >>> found = minimal_perturbations({"m": brightness}, images, [0, 1], attack=registry.get("ddn"))
        >>> [round(distance, 2) for distance in found.distortions["m"]]
        [0.3, 0.1]
    """
    chosen = _checked_minimum_norm(attack)
    data = Examples.checked(images, labels, None, batch_size, seed)
    evaluated = progress_bar(EvaluatedModels.of(models, {}, {}, data).models, shown=progress, unit="model")
    distortions = {model.name: tuple(data.distortions(chosen, model.logits).tolist()) for model in evaluated}
    return MinimalPerturbations(attack=chosen, distortions=distortions, seed=data.seed)


def _checked_epsilons(epsilons: Iterable[float]) -> tuple[float, ...]:
    values = tuple(epsilons)
    for value in values:
        real("epsilons", value)
    if not values or any(b <= a for a, b in zip((0.0, *values), values, strict=False)):
        raise InputError("epsilons", expected="numbers above 0, each larger than the one before", received=values)
    return tuple(float(value) for value in values)


def _checked_attack(attack: Attack) -> BallAttack:
    if not isinstance(attack, BallAttack):
        expected = "an attack inside a ball, such as pgd or square"
        raise InputError("attack", expected=expected, received=repr(attack), remedy="See minimal_perturbations.")
    return attack


def _checked_minimum_norm(attack: Attack) -> MinimumNormAttack:
    if not isinstance(attack, MinimumNormAttack):
        expected = "a minimum-norm attack, such as ddn or cw_l2"
        raise InputError("attack", expected=expected, received=repr(attack), remedy="See accuracy_curve.")
    return attack


def _same_counts(results: Mapping[str, Sequence[float]]) -> None:
    counts = {len(values) for values in results.values()}
    if len(counts) != 1 or 0 in counts:
        expected = "at least one model, all with the same number of examples"
        raise InputError("results", expected=expected, received=f"{sorted(counts)} examples")


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()
