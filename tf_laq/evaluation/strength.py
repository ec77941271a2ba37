"""Whether more of the same attack breaks more: checks that need runs of their own, on the first examples only.

Source: Carlini et al. 2019, "On Evaluating Adversarial Robustness", sections 3.2 and 4.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from tf_laq.attacks.apgd import APGD
from tf_laq.attacks.base import BallAttack, IterativeAttack, StartableAttack
from tf_laq.attacks.battery import Battery
from tf_laq.attacks.pgd import PGD
from tf_laq.evaluation.checks import SIGNIFICANT, Stepping, significance, verdict
from tf_laq.evaluation.examples import LOOKED_AT, Examples
from tf_laq.evaluation.models import EvaluatedModel
from tf_laq.evaluation.outcomes import Correct
from tf_laq.evaluation.plausibility import diameter
from tf_laq.evaluation.report import Check, RobustnessReport
from tf_laq.evaluation.statistics import Share, mcnemar

MORE_RESTARTS = 2
# Share of the examples that further restarts may break: some always meet a lucky start.
LUCKY = 0.03
FACTORS = (0.5, 1.0, 2.0)
# Within this distance in each pixel every image can become plain grey, which no model can classify.
GREY = 0.5


def main_attack(battery: Battery, classes: int = 10) -> tuple[str, Stepping] | None:
    """Return the white-box attack that more is tried of, with its column: the first PGD or Auto-PGD, or iterative one.

    It is one that can be made on a model of so many classes.

    Example:
        >>> main_attack(Battery.preset("digits", "strong"))[0]
        'apgd_ce'
    """
    found = [
        (column.name, attack)
        for column in battery.columns
        if isinstance(attack := column.attacks.get("white"), Stepping)
        and attack.epsilon > 0.0
        and attack.fewest_classes <= classes
    ]
    return min(found, key=lambda named: not isinstance(named[1], StartableAttack), default=None)


def strength_checks(report: RobustnessReport, model: EvaluatedModel, examples: Examples) -> Iterator[Check]:
    """Yield the checks of the main attack with more steps, more restarts, and at other strengths."""
    main = main_attack(report.battery, model.classes)
    if main is None or model.gradients is None:
        return
    # Batches of the evaluation's size, for which TensorFlow has its graphs already.
    looked_at = dataclasses.replace(examples.first(LOOKED_AT), batch_size=examples.batch_size)
    survivors = report.surviving(model.name)[: len(looked_at.images)]
    yield from _Trial(model, looked_at, survivors, *main).checks(_known(report, model.name, main[0]))


def _known(report: RobustnessReport, model: str, column: str) -> Correct | None:
    """Return what the first search of a white-box attack left, if the report has it: in an ensemble it has not."""
    cell = (model, column, "white", False)
    found = [o.correct for o in report.outcomes if (o.model, o.column, o.knowledge, o.second_search) == cell]
    return found[0] if found and not report.battery.ensemble else None


class _Trial:
    """Runs of one attack in other settings, on the examples that the model gets right without an attack."""

    def __init__(
        self, model: EvaluatedModel, examples: Examples, survivors: Correct, column: str, attack: Stepping
    ) -> None:
        self.model, self.examples, self.survivors = model, examples, survivors
        self.column, self.attack = column, attack
        self.right = examples.correct(model.logits, examples.images)

    def checks(self, known: Correct | None) -> Iterator[Check]:
        once = self._correct(self.attack, self.right) if known is None else known[: len(self.right)]
        yield self._more_steps(once)
        if isinstance(self.attack, APGD) or (isinstance(self.attack, PGD) and self.attack.random_start):
            yield self._more_restarts(self.attack, once)
        yield self._epsilon(once)

    def _more_steps(self, once: Correct) -> Check:
        twice = self._correct(_twice_the_steps(self.attack), self.right)
        only_more, only_once = int((once & ~twice).sum()), int((~once & twice).sum())
        p = mcnemar(only_more, only_once) if only_more > only_once else 1.0
        return verdict(
            self.model.name,
            "more_steps",
            p < SIGNIFICANT,
            {"only_more": only_more, "only_once": only_once, "beyond": self._beyond(twice), "p": p},
            f"{self.column} with twice the steps breaks {only_more} of {len(once)} images that it does not break as it "
            f"is, and leaves {only_once} that it does{significance(p)}",
            f"it has not converged, so use more steps. {self._rest(twice)}",
        )

    def _more_restarts(self, attack: PGD | APGD, once: Correct) -> Check:
        more = self._correct(dataclasses.replace(attack, restarts=attack.restarts + MORE_RESTARTS), once)
        broken = int((once & ~more).sum())
        found = broken > max(1.0, LUCKY * len(once))
        return verdict(
            self.model.name,
            "more_restarts",
            found,
            {"broken": broken, "beyond": self._beyond(more)},
            f"{self.column} with {MORE_RESTARTS} more restarts breaks {broken} further images of {len(once)}",
            f"its starts are not enough, so use more restarts. {self._rest(more)}",
        )

    def _epsilon(self, once: Correct) -> Check:
        strengths = {factor * self.attack.epsilon for factor in FACTORS}
        if self.attack.norm == "linf":
            strengths = {epsilon for epsilon in strengths if epsilon < GREY or epsilon == self.attack.epsilon} | {GREY}
        runs = {epsilon: self._at(epsilon, once) for epsilon in strengths}
        ordered = [runs[epsilon] for epsilon in sorted(runs)]
        pairs = [
            (int((~low & high & self.right).sum()), int((low & ~high).sum()))
            for low, high in itertools.pairwise(ordered)
        ]
        p = min(1.0, len(pairs) * min(mcnemar(*pair) if pair[0] > pair[1] else 1.0 for pair in pairs))
        chance = 1.0 / self.model.classes
        grey = min((epsilon for epsilon in runs if epsilon >= self._grey), default=None)
        above_chance = grey is not None and Share(int(runs[grey].sum()), len(once)).interval[0] > chance
        accuracies = {f"epsilon {epsilon:.3g}": float(runs[epsilon].mean()) for epsilon in sorted(runs)}
        shown = ", ".join(f"{100 * value:.1f} % at {name}" for name, value in accuracies.items())
        wrong = (["rises with epsilon"] if p < SIGNIFICANT else []) + (
            [f"stays above chance at {grey:g}, where every image can be grey"] if above_chance else []
        )
        return verdict(
            self.model.name,
            "epsilon",
            bool(wrong),
            {**accuracies, "p": p},
            f"{self.column} leaves {shown}",
            f"the accuracy {' and '.join(wrong)}: the attack does not work on this model.",
        )

    @property
    def _grey(self) -> float:
        """Radius of the ball around any image that has plain grey in it."""
        return GREY * diameter(self.attack.norm, self.examples.images)

    def _at(self, epsilon: float, once: Correct) -> Correct:
        same = epsilon == self.attack.epsilon
        return once if same else self._correct(self.attack.with_epsilon(epsilon), self.right)

    def _correct(self, attack: BallAttack, among: Correct) -> Correct:
        """Return where the model withstands an attack that is tried on some of the examples."""
        correct = among.copy()
        if among.any():
            examples, logits = self.examples.only(among), self.model.logits
            correct[among] = examples.correct(logits, examples.attacked(attack, logits))
        return correct

    def _beyond(self, correct: Correct) -> int:
        """Return how many images a run broke that survive every attack of the table."""
        return int((self.survivors & ~correct).sum())

    def _rest(self, correct: Correct) -> str:
        return f"{self._beyond(correct)} of these survive every attack of the table."


def _twice_the_steps(attack: Stepping) -> BallAttack:
    if isinstance(attack, IterativeAttack):
        return dataclasses.replace(attack, steps=2 * attack.steps, step_size=attack.step)
    return dataclasses.replace(attack, steps=2 * attack.steps)
