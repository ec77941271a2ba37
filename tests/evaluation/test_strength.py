"""More of the same attack: what it breaks says whether the attack was strong enough."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from tf_laq.attacks import MIM, PGD, APGDCrossEntropy, Battery, CarliniWagner, Column, Square, UniformNoise
from tf_laq.evaluation import evaluate
from tf_laq.evaluation.examples import LOOKED_AT
from tf_laq.evaluation.strength import main_attack

COUNT = 60


@pytest.fixture(scope="module")
def run(digits, network):
    """Return a function that evaluates a model under one white-box attack and gives its checks by name."""

    def checks(attack, model=network, count=COUNT, ensemble=False, **options):
        images, labels = (part[1200 : 1200 + count] for part in digits)
        battery = Battery(name="x", columns=(Column(name="a", attacks={"white": attack}),), ensemble=ensemble)
        report = evaluate({"m": model}, images, labels, battery=battery, **options)
        return {check.name: check for check in report.checks}

    return checks


def test_an_attack_of_too_few_steps_has_not_converged(run) -> None:
    found = run(PGD(epsilon=0.15, steps=3, step_size=0.02, random_start=False))
    check = found["more_steps"]
    assert check.verdict == "warning"
    assert check.figures["only_more"] == check.figures["beyond"] >= 6
    assert f"{check.figures['beyond']:.0f} of these survive every attack of the table." in check.sentence
    assert "more_restarts" not in found


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_sound_attack_passes(run, ensemble) -> None:
    found = run(APGDCrossEntropy(epsilon=0.1, steps=20), ensemble=ensemble)
    assert {found[name].verdict for name in ("more_steps", "more_restarts", "epsilon")} == {"ok"}
    accuracies = [value for name, value in found["epsilon"].figures.items() if name.startswith("epsilon")]
    assert list(found["epsilon"].figures)[:4] == [f"epsilon {epsilon}" for epsilon in ("0.05", "0.1", "0.2", "0.5")]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == 0.0


def test_an_attack_that_lives_on_luck_needs_more_restarts(run, network) -> None:
    """Without its gradient PGD is its random start."""
    from tensorflow import stop_gradient

    check = run(PGD(epsilon=0.5, steps=1), lambda images: network(stop_gradient(images)) + 0.0 * network(images))
    assert check["more_restarts"].verdict == "warning"
    assert check["more_restarts"].figures["broken"] >= 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timid(PGD):
    """PGD that goes back the further the larger its ball is."""

    name: ClassVar[str] = "timid"

    def _perturb(self, logits, images, labels, seed, indices):
        return PGD(epsilon=0.0 if self.epsilon > 0.15 else self.epsilon, steps=5)._perturb(
            logits, images, labels, seed, indices
        )


def test_an_accuracy_that_rises_with_epsilon_is_named(run) -> None:
    check = run(Timid(epsilon=0.15, steps=5))["epsilon"]
    assert check.verdict == "warning"
    assert "rises with epsilon and stays above chance at 0.5" in check.sentence


def test_in_l2_the_accuracy_need_not_reach_chance(run) -> None:
    found = run(PGD(epsilon=0.1, norm="l2", steps=3))["epsilon"]
    assert [name for name in found.figures if name.startswith("epsilon")] == [f"epsilon {e}" for e in (0.05, 0.1, 0.2)]
    assert found.verdict == "ok"


@pytest.mark.parametrize(
    "attack", [PGD(epsilon=0.5, norm="l2", steps=3), APGDCrossEntropy(epsilon=0.25, norm="l2", steps=5)]
)
def test_in_l2_grey_is_not_within_half_of_the_range(attack, run) -> None:
    found = run(attack)["epsilon"]
    assert found.verdict == "ok"
    assert found.figures["epsilon 0.5"] > 0.3


@pytest.mark.parametrize(("epsilon", "named"), [(1.9, False), (2.0, True), (4.5, True)])
def test_in_l2_grey_is_within_half_the_root_of_the_number_of_pixels(epsilon, named, run) -> None:
    sentence = run(Timid(epsilon=epsilon, norm="l2", steps=5))["epsilon"].sentence
    radius = max(4.0, epsilon)
    assert (f"stays above chance at {radius:g}, where every image can be grey" in sentence) == named


def test_only_the_first_examples_are_looked_at_and_none_if_turned_off(run, noting) -> None:
    names = {"more_steps", "more_restarts", "epsilon"}
    assert not names & set(run(noting, count=LOOKED_AT + 40, check_strength=False))
    once = len(noting.seen)
    noting.seen.clear()
    assert names <= set(run(noting, count=LOOKED_AT + 40))
    assert np.concatenate(noting.seen[once:]).max() < LOOKED_AT


@pytest.mark.parametrize(
    ("attacks", "chosen"),
    [
        ({"cw": CarliniWagner(), "square": Square(epsilon=0.1)}, None),
        ({"mim": MIM(epsilon=0.1), "square": Square(epsilon=0.1)}, "mim"),
        ({"mim": MIM(epsilon=0.1), "pgd": PGD(epsilon=0.1)}, "pgd"),
        ({"nothing": PGD(epsilon=0.0), "apgd": APGDCrossEntropy(epsilon=0.1), "pgd": PGD(epsilon=0.1)}, "apgd"),
    ],
)
def test_the_main_attack_is_the_first_that_can_be_started_anew(attacks, chosen) -> None:
    columns = [Column(name=name, attacks={"white": attack}) for name, attack in attacks.items()]
    noise = Column(name="noise", attacks={"none": UniformNoise(epsilon=0.1)})
    found = main_attack(Battery(name="x", columns=(noise, *columns)))
    assert (found and found[0]) == chosen
