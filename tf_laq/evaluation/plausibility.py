"""Whether an evaluation can mean anything: what is refused before the first attack, and what a check says after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from tf_laq._internal.validation import one_of, real
from tf_laq.attacks.base import Attack, Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.attacks.clean import Clean
from tf_laq.attacks.square import Square
from tf_laq.errors import InputError
from tf_laq.evaluation.checks import verdict
from tf_laq.evaluation.outcomes import ball_of
from tf_laq.evaluation.report import Check, RobustnessReport

# Share of all images by which a clean accuracy may be below the expected one, beyond its interval.
BELOW = 0.02


def attacks_of(battery: Battery) -> dict[str, Attack]:
    """Return all attacks of a battery by what errors call them."""
    return {f"column {c.name}, {knowledge}": attack for c in battery.columns for knowledge, attack in c.attacks.items()}


def check_attacks(attacks: Mapping[str, Attack], images: Images) -> None:
    """Refuse attacks that cannot be made on these images, or whose ball holds every image there is.

    Raises:
        InputError: A radius is above the diameter of [0, 1], or Square is to attack what are no images.
    """
    for subject, attack in attacks.items():
        if isinstance(attack, Square) and images.ndim != 4:
            raise InputError(
                subject,
                expected="images of shape (n, height, width, channels), in which Square draws its squares",
                received=f"shape {images.shape}",
                remedy="Leave the attack out, as with Battery.only.",
            )
        ball = ball_of(attack)
        if ball is not None and ball[1] > diameter(ball[0], images) * (1.0 + 1e-6):
            norm, epsilon = ball
            raise InputError(
                f"{subject}, epsilon",
                expected=f"at most {diameter(norm, images):g}, the distance from black to white in {norm}",
                received=f"{epsilon:g}",
                remedy=f"It is in pixel units of [0, 1]: give {epsilon:g} / 255 for {epsilon:g} of 255.",
            )


def checked_expectations(expected: float | Mapping[str, float] | None, models: list[str]) -> dict[str, float]:
    """Return the expected clean accuracy by the name of the model, or raise an `InputError`."""
    if expected is None:
        return {}
    by_model = expected if isinstance(expected, Mapping) else dict.fromkeys(models, expected)
    for name, value in by_model.items():
        one_of("expected_clean", name, models)
        real("expected_clean", value, maximum=1.0)
    return {name: float(value) for name, value in by_model.items()}


def plausibility_checks(
    report: RobustnessReport, model: str, images: Images, labels: Labels, expected: float | None
) -> Iterator[Check]:
    """Yield the checks of a model's clean accuracy, of the radii, and of whether the model itself was attacked."""
    yield _clean_accuracy(report, model, labels, expected)
    yield from _radius(report.battery, model, images)
    yield _searched(report, model)


def _clean_accuracy(report: RobustnessReport, model: str, labels: Labels, expected: float | None) -> Check:
    clean = next(c.name for c in report.battery.columns if any(isinstance(a, Clean) for a in c.attacks.values()))
    share = report.accuracy(model, clean)
    counts = np.bincount(labels)
    # Of images of one class, naming it is no chance.
    several = (counts > 0).sum() > 1
    chance = float(counts.max() / len(labels)) if several else 1.0 / report.classes[model]
    blind = "always naming the most frequent class" if several else "guessing"
    at_chance = share.interval[0] <= chance
    below = expected is not None and share.interval[1] < expected - BELOW
    told = {} if expected is None else {"expected": expected}
    fact = f"without an attack, {share.value:.1%} are right, where {blind} would give {chance:.1%}"
    return verdict(
        model,
        "clean_accuracy",
        at_chance or below,
        {"accuracy": share.value, "chance": chance, **told},
        fact if expected is None else f"{fact} and {expected:.1%} are expected",
        "the model may take another range or layout of images, or other labels: see Classifier.",
    )


def _radius(battery: Battery, model: str, images: Images) -> Iterator[Check]:
    """No model can withstand changes of more than half the range: every image can be grey."""
    balls = {name: ball for name, attack in attacks_of(battery).items() if (ball := ball_of(attack)) is not None}
    if not balls:
        return
    shares = {name: epsilon / diameter(norm, images) for name, (norm, epsilon) in balls.items()}
    largest = max(shares, key=lambda name: shares[name])
    yield verdict(
        model,
        "radius",
        shares[largest] > 0.5 + 1e-6,
        {"share": shares[largest]},
        f"the largest ball, of {largest}, has {shares[largest]:.1%} of the distance from black to white as its radius",
        "from one half on, every image can become grey, which no model can classify.",
    )


def _searched(report: RobustnessReport, model: str) -> Check:
    attacked = [column.name for column in report.battery.columns if report.has(model, column.name, "white")]
    return verdict(
        model,
        "searched",
        not attacked,
        {"attacks": len(attacked)},
        f"{len(attacked)} attacks searched for weaknesses of the model itself",
        "its worst case is that under noise and examples of other models: add the attack square.",
    )


def diameter(norm: str, images: Images) -> float:
    """Return the distance from a black image to a white one."""
    return 1.0 if norm == "linf" else math.sqrt(math.prod(images.shape[1:]))
