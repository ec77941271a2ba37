"""What could make a robust accuracy misleading, looked for in every evaluation.

Sources: Carlini et al. 2019, "On Evaluating Adversarial Robustness"; Athalye, Carlini and Wagner 2018, "Obfuscated
Gradients Give a False Sense of Security"; Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from tf_laq.attacks.apgd import APGD
from tf_laq.attacks.base import Attack, IterativeAttack
from tf_laq.attacks.fgsm import FGSM
from tf_laq.attacks.noise import UniformNoise
from tf_laq.attacks.square import Square
from tf_laq.evaluation.examples import LOOKED_AT, Examples
from tf_laq.evaluation.models import MANY_ZEROS, EvaluatedModel, ZeroGradients
from tf_laq.evaluation.outcomes import Correct, ball_of
from tf_laq.evaluation.report import OK, WARNING, Check, RobustnessReport
from tf_laq.evaluation.statistics import mcnemar

Stepping = IterativeAttack | APGD

# The gradient of the cross-entropy falls as exp(-margin): nothing is left of it in float32 from 104 on, and attacks
# scale the logits down from 33 on.
LARGE_MARGIN = 50.0
RANDOM_CHANGE = 1e-4
PASSES = 5
ROUNDING = 1e-5
SIGNIFICANT = 0.05
# Share of the examples that an attack may miss by bad luck.
MISSED = 0.01


def verdict(model: str, name: str, found: bool, figures: Mapping[str, float], fact: str, meaning: str) -> Check:
    """Return a check: a warning with the fact and its meaning if something was found, else only the fact."""
    # Rounded, since the last digits depend on the batch size.
    rounded = {key: float(f"{value:.3g}") for key, value in figures.items()}
    sentence = f"{fact}; {meaning}" if found else f"{fact}."
    return Check(model=model, name=name, verdict=WARNING if found else OK, figures=rounded, sentence=sentence)


def model_checks(model: EvaluatedModel, examples: Examples, excess: float) -> Iterator[Check]:
    """Yield the checks of a model itself and of the images that it was shown."""
    yield _zero_gradients(model.name, model.gradients)
    first = examples.first(LOOKED_AT)
    outputs = np.stack([first.outputs(model.logits, first.images) for _ in range(PASSES)])
    ordered = np.sort(outputs[0], axis=1)
    margin = float(np.median(ordered[:, -1] - ordered[:, -2]))
    yield verdict(
        model.name,
        "logits_scale",
        margin > LARGE_MARGIN,
        {"median_margin": margin},
        f"the median difference of the two largest logits is {margin:.3g}",
        "the cross-entropy has no gradient left there in float32: attacks here scale the logits down, those of other "
        "packages are too weak.",
    )
    change = float(np.abs(outputs - outputs[0]).max() / max(np.abs(outputs[0]).max(), 1e-12))
    yield verdict(
        model.name,
        "randomised",
        change > RANDOM_CHANGE,
        {"relative_change": change},
        f"over {PASSES} passes of the same images the logits change by {change:.1g} of the largest",
        "the accuracies are those of random outputs, and attacks would need to average over them.",
    )
    outside = not excess <= ROUNDING
    yield verdict(
        model.name,
        "inside_the_ball",
        outside,
        {"excess": min(excess, float(np.finfo(np.float32).max))},
        _place(excess),
        "the attack is wrong.",
    )


def _place(excess: float) -> str:
    if excess <= ROUNDING:
        return "all adversarial images are inside their balls and [0, 1]"
    if np.isfinite(excess):
        return f"an adversarial image leaves its ball or [0, 1] by {excess:.2g}"
    return "an adversarial image has pixels that are infinite or NaN"


def _zero_gradients(model: str, gradients: ZeroGradients | None) -> Check:
    """Attacks that follow a gradient are blind where it is zero."""
    if gradients is None:
        fact = "the model has no gradient, so no attack followed it"
        meaning = "random search, noise and examples of other models are all that it can be tried with."
        return verdict(model, "zero_gradients", True, {}, fact, meaning)
    non_finite = f", or not finite and taken as 0 ({gradients.non_finite:.2%})" if gradients.non_finite else ""
    return verdict(
        model,
        "zero_gradients",
        gradients.entries > MANY_ZEROS or gradients.images > 0.0 or gradients.non_finite > 0.0,
        dataclasses.asdict(gradients),
        f"{gradients.entries:.0%} of the entries of the input gradients are exactly zero{non_finite}, and "
        f"{gradients.images:.0%} of the images have no other",
        "an attack that follows them is blind there, so trust the worst case only.",
    )


def report_checks(report: RobustnessReport, model: str) -> Iterator[Check]:
    """Yield the checks that compare attacks on one model, as far as the battery has the columns for them."""
    for check in (_transfer, _one_step, _gradient_free, _noise):
        yield from check(report, model)


@dataclasses.dataclass(frozen=True)
class _White:
    """A white-box column of a model, the second search left out."""

    name: str
    attack: Attack
    correct: Correct

    @property
    def iterative(self) -> bool:
        return isinstance(self.attack, Stepping)


def _white(report: RobustnessReport, model: str) -> list[_White]:
    attacks = {column.name: column.attacks.get("white") for column in report.battery.columns}
    return [
        _White(outcome.column, attack, outcome.correct)
        for outcome in report.outcomes
        if (outcome.model, outcome.knowledge, outcome.second_search) == (model, "white", False)
        and (attack := attacks[outcome.column]) is not None
    ]


def _transfer(report: RobustnessReport, model: str) -> Iterator[Check]:
    """Another model's examples that break more images than those made on the model itself show a blinded attack."""
    iterative = [white for white in _white(report, model) if white.iterative]
    pairs = []
    for column in report.battery.columns:
        gray = column.attacks.get("gray")
        if report.has(model, column.name, "gray") and isinstance(gray, Stepping):
            same = [white for white in iterative if _as_strong(white.attack, gray)]
            same.sort(key=lambda white: white.name != column.name)
            correct = report.correct(model, column.name, "gray")
            pairs += [
                (f"gray-box {column.name}", correct, f"white-box {white.name}", white.correct) for white in same[:1]
            ]
    yield from _compare(
        model, "transfer", pairs, "the model hides its gradients from white-box attacks, so trust the worst case only."
    )


def _one_step(report: RobustnessReport, model: str) -> Iterator[Check]:
    """One step that breaks more images than many steps shows that the steps go astray."""
    # In an ensemble, the later attacks break by definition what the earlier ones did.
    white = [] if report.battery.ensemble else _white(report, model)
    pairs = [
        (one.name, one.correct, many.name, many.correct)
        for one in white
        for many in white
        if isinstance(one.attack, FGSM) and many.iterative and _as_strong(many.attack, one.attack)
    ]
    yield from _compare(model, "one_step", pairs, "the gradients lead astray, so trust the worst case only.")


def _gradient_free(report: RobustnessReport, model: str) -> Iterator[Check]:
    """Random search that breaks more images than all gradient attacks together shows that gradients are hidden."""
    for square in (white for white in _white(report, model) if isinstance(white.attack, Square)):
        others = [
            report.correct(model, white.name, "white")
            for white in _white(report, model)
            if white.attack.needs_gradient and _as_strong(white.attack, square.attack)
        ]
        if not others:
            continue
        together = np.logical_and.reduce(others)
        missed, other = int((together & ~square.correct).sum()), int((~together & square.correct).sum())
        found = missed > max(1.0, MISSED * report.count) and missed > other and mcnemar(missed, other) < SIGNIFICANT
        yield verdict(
            model,
            "gradient_free",
            found,
            {"only_gradient_free": missed, "only_gradient": other},
            f"{square.name}, which needs no gradients, breaks {missed} of {report.count} images that no gradient "
            "attack of the same strength breaks",
            "the model hides its gradients, and the gradient columns overstate its robustness.",
        )


def _noise(report: RobustnessReport, model: str) -> Iterator[Check]:
    """Images that plain noise breaks and an attack of the same strength does not show that the attack is broken."""
    for column in report.battery.columns:
        noise = column.attacks.get("none")
        if not isinstance(noise, UniformNoise):
            continue
        iterative = [w for w in _white(report, model) if w.iterative and _as_strong(w.attack, noise)]
        if not iterative:
            continue
        together = np.logical_and.reduce([white.correct for white in iterative])
        missed = int((together & ~report.correct(model, column.name)).sum())
        found = missed > max(1.0, MISSED * report.count)
        yield verdict(
            model,
            "noise",
            found,
            {"only_noise": missed},
            f"{column.name} noise breaks {missed} of {report.count} images that no iterative attack breaks",
            "those attacks do not work on this model.",
        )


def _as_strong(attack: Attack, other: Attack) -> bool:
    """Return whether an attack may change images as much as another one; equal strengths differ by rounding only."""
    balls = ball_of(attack), ball_of(other)
    if balls[0] is None or balls[1] is None or balls[0][0] != balls[1][0]:
        return False
    return 1.0 - 1e-6 <= balls[0][1] / max(balls[1][1], 1e-12) <= 1.0 + 1e-6


def _compare(model: str, name: str, pairs: list[tuple[str, Correct, str, Correct]], meaning: str) -> Iterator[Check]:
    """Yield the check that no first attack of the pairs breaks more images than the second, example by example.

    The exact McNemar test, times the number of pairs (Bonferroni), of the pair with the smallest p.
    """
    if not pairs:
        return
    counted = []
    for weaker, its_correct, stronger, correct in pairs:
        only, other = int((~its_correct & correct).sum()), int((its_correct & ~correct).sum())
        p = min(1.0, mcnemar(only, other) * len(pairs)) if only > other else 1.0
        counted.append((p, -only, other, weaker, stronger))
    p, only, other, weaker, stronger = min(counted)
    fact = f"{weaker} breaks {-only} images that {stronger} does not, which breaks {other} that the first does not"
    figures = {"only_weaker": -only, "only_stronger": other, "p": p}
    yield verdict(model, name, p < SIGNIFICANT, figures, fact + significance(p), meaning)


def significance(p: float) -> str:
    """Return McNemar's p in brackets where it is significant, and nothing elsewhere."""
    return f" (McNemar p = {p:.2g})" if p < SIGNIFICANT else ""
