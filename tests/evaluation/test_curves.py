from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st

from tf_laq import attacks
from tf_laq.errors import InputError
from tf_laq.evaluation import AccuracyCurve, MinimalPerturbations, accuracy_curve, minimal_perturbations
from tf_laq.report.plots import draw_curve

# How far each of eight images is from the border of the class, in L-inf and in L2: they have one pixel.
DISTANCES = [0.02, 0.07, 0.11, 0.2, 0.3, 0.45]
IMAGES = np.array([*(0.5 + d for d in DISTANCES), 0.4, 0.1], np.float32).reshape(8, 1, 1, 1)
LABELS = np.ones(8, int)


def bright(images):
    return 8.0 * tf.reduce_sum(images - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]


def shifted(images):
    return bright(images + 0.05)


@pytest.mark.parametrize(("name", "batch_size"), [("fgsm", 3), ("fgsm", 128), ("pgd", 4), ("square", 128)])
def test_the_curve_of_a_model_whose_distances_are_known(name, batch_size) -> None:
    epsilons = [0.05, 0.1, 0.25, 0.5]
    models = {"bright": bright, "shifted": shifted}
    attack = attacks.get(name, epsilon=0.1)
    curve = accuracy_curve(models, IMAGES, LABELS, attack=attack, epsilons=epsilons, batch_size=batch_size)
    assert curve.epsilons == (0.0, *epsilons)
    for model, shift in (("bright", 0.0), ("shifted", 0.05)):
        expected = [sum(d + shift > epsilon for d in DISTANCES) / 8 for epsilon in curve.epsilons]
        assert [curve.accuracy(model, epsilon).value for epsilon in curve.epsilons] == expected


def test_an_example_is_not_attacked_again_once_it_is_broken() -> None:
    seen = []

    class Watched(attacks.FGSM):
        def _perturb(self, logits, images, labels, seed, indices):
            seen.append((self.epsilon, set(indices.tolist())))
            return super()._perturb(logits, images, labels, seed, indices)

    accuracy_curve({"m": bright}, IMAGES, LABELS, attack=Watched(epsilon=1.0), epsilons=[0.05, 0.15, 0.6, 0.7])
    assert seen == [(0.05, {0, 1, 2, 3, 4, 5}), (0.15, {1, 2, 3, 4, 5}), (0.6, {3, 4, 5})]


def test_a_step_size_grows_with_epsilon() -> None:
    steps = []

    class Watched(attacks.PGD):
        def _perturb(self, *arguments):
            steps.append(self.step)
            return super()._perturb(*arguments)

    attack = Watched(epsilon=0.2, step_size=0.05, steps=4)
    accuracy_curve({"m": bright}, IMAGES, LABELS, attack=attack, epsilons=[0.1, 0.4])
    assert steps == pytest.approx([0.025, 0.1])


@pytest.fixture(scope="module")
def curve():
    return AccuracyCurve(
        attack=attacks.get("pgd", epsilon=0.1, stop_when_broken=True),
        epsilons=(0.0, 0.1, 0.2),
        broken_at={"adv": (0, 1, 2, 3, 3), "q1": (0, 0, 1, 1, 3)},
        seed=4,
    )


def test_a_curve_prints_its_shares_with_their_intervals(curve) -> None:
    assert str(curve).splitlines() == [
        "Accuracy (%) under pgd (linf) by epsilon, N = 5, [95 %]",
        "epsilon    adv                q1",
        "---------  -----------------  -----------------",
        "0          80.0 [37.6, 96.4]  60.0 [23.1, 88.2]",
        "0.1        60.0 [23.1, 88.2]  20.0 [3.6, 62.4]",
        "0.2        40.0 [11.8, 76.9]  20.0 [3.6, 62.4]",
    ]
    assert curve.to_csv().splitlines()[:3] == [
        "model,epsilon,accuracy,lower,upper",
        "adv,0,80.00,37.55,96.38",
        "adv,0.1,60.00,23.07,88.24",
    ]


def test_a_curve_survives_its_file_and_is_drawn(curve, tmp_path) -> None:
    curve.save(tmp_path / "curve.json")
    assert AccuracyCurve.load(tmp_path / "curve.json") == curve
    assert draw_curve(curve).startswith(b"\x89PNG")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_curve_never_rises(broken_at) -> None:
    attack = attacks.get("fgsm", epsilon=0.1)
    epsilons = (0.0, 0.1, 0.2, 0.3)
    curve = AccuracyCurve(attack=attack, epsilons=epsilons, broken_at={"m": tuple(broken_at)}, seed=0)
    values = [curve.accuracy("m", epsilon).value for epsilon in epsilons]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("name", ["ddn", "cw_l2"])
def test_minimal_perturbations_are_the_known_distances(name, tmp_path) -> None:
    found = minimal_perturbations({"bright": bright}, IMAGES, LABELS, attack=attacks.get(name), batch_size=3)
    assert found.distortions["bright"] == pytest.approx([*DISTANCES, 0.0, 0.0], abs=0.01)
    assert found.accuracy("bright", 0.0).successes == 6
    assert found.accuracy("bright", 0.25).successes == 2
    assert found.quantile("bright", 0.5) == found.distortions["bright"][2]
    assert found.to_csv().startswith("model,example,distortion\nbright,0,0.0")
    found.save(tmp_path / "distances.json")
    assert MinimalPerturbations.load(tmp_path / "distances.json") == found


def test_what_no_attack_breaks_is_infinitely_far(tmp_path) -> None:
    attack = attacks.get("ddn")
    found = MinimalPerturbations(attack=attack, distortions={"m": (0.0, 0.5, math.inf, math.inf)}, seed=0)
    found.save(tmp_path / "distances.json")
    again = MinimalPerturbations.load(tmp_path / "distances.json")
    assert (again.quantile("m", 0.3), again.quantile("m", 0.5)) == (0.5, math.inf)
    assert again.accuracy("m", 100.0).value == 0.5
    assert "inf" in str(again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": attacks.get("ddn")}, "attack: expected an attack inside a ball"),
        ({"epsilons": []}, "epsilons: expected numbers above 0"),
        ({"epsilons": [0.0, 0.1]}, "epsilons: expected numbers above 0"),
        ({"epsilons": [0.2, 0.1]}, "epsilons: .*each larger"),
        ({"epsilons": [math.nan]}, "epsilons: expected a finite number"),
        ({"models": {}}, "models: expected a mapping"),
        ({"models": {"soft": lambda x: tf.nn.softmax(bright(x))}}, r"models\['soft'\]: expected logits"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_refused_by_name(changes, message) -> None:
    arguments = {"models": {"m": bright}, "attack": attacks.get("fgsm", epsilon=0.1), "epsilons": [0.1], **changes}
    with pytest.raises(InputError, match=message):
        accuracy_curve(arguments.pop("models"), IMAGES, LABELS, **arguments)


def test_attacks_in_a_ball_have_no_minimal_perturbations() -> None:
    with pytest.raises(InputError, match="attack: expected a minimum-norm attack"):
        minimal_perturbations({"m": bright}, IMAGES, LABELS, attack=attacks.get("fgsm", epsilon=0.1))


def test_an_unknown_model_or_epsilon_is_refused(curve) -> None:
    with pytest.raises(InputError, match="model: expected one of adv, q1"):
        curve.accuracy("q2", 0.1)
    with pytest.raises(InputError, match="epsilon: expected one of 0.0, 0.1, 0.2"):
        curve.accuracy("q1", 0.15)
