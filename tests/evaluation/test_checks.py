"""Defects that make a robust accuracy misleading, planted one by one: the check that is made for each names it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq.adapters import logits_function
from tf_laq.attacks import DDN, FGSM, PGD, Attack, Battery, Column, Square, UniformNoise
from tf_laq.errors import InputError
from tf_laq.evaluation import RobustnessReport, evaluate
from tf_laq.evaluation.outcomes import excess_of
from tf_laq.evaluation.report import CHECKS

COUNT, EPSILON = 100, 0.1
STEPS = PGD(epsilon=EPSILON, steps=10)
BATTERY = Battery(
    name="checks",
    columns=(
        Column(name="fgsm", attacks={"white": FGSM(epsilon=EPSILON)}),
        Column(name="pgd", attacks={"gray": STEPS, "white": STEPS}),
        Column(name="uniform", attacks={"none": UniformNoise(epsilon=EPSILON)}),
        Column(name="square", attacks={"white": Square(epsilon=EPSILON, queries=150)}),
    ),
)


@pytest.fixture(scope="module")
def run(digits, network):
    """Return a function that evaluates a model, with the sound network as surrogate."""
    images, labels = (part[1200 : 1200 + COUNT] for part in digits)

    def evaluation(model, battery=BATTERY, **options) -> RobustnessReport:
        options = {"check_strength": False, **options}
        return evaluate({"m": model}, images, labels, battery=battery, surrogates={"sound": network}, **options)

    return evaluation


@pytest.fixture(scope="module")
def quantized(keras_network):
    """Return the sound network with weights of 8 bits, as a function to logits."""
    plan = laq.uniform(keras_network, "linear", 8, progress=False)
    return logits_function(laq.bake(keras_network, plan))


def warnings(report: RobustnessReport) -> set[str]:
    return {check.name for check in report.checks if check.verdict == "warning"}


def zero_gradient(network, share=1.0, number=0.0):
    """Return the network with a share of its input gradient set to zero, or another number, at every point."""
    kept = np.random.default_rng(0).random((8, 8, 1)) >= share

    @tf.custom_gradient
    def masked(images):
        return images, lambda upstream: tf.where(kept, upstream, number)

    return lambda images: network(masked(images))


def test_a_sound_network_passes_every_check(run, network) -> None:
    report = run(lambda images: network(images), check_strength=True)
    assert [check.name for check in report.checks] == list(CHECKS)
    assert warnings(report) == set()
    assert "Checks: 14 of 14 ok." in str(report)


class TestPlantedDefects:
    """Defects that make a robust accuracy misleading, each with the check that names it."""

    def test_logits_times_a_hundred(self, run, network) -> None:
        assert "logits_scale" in warnings(run(lambda images: 100.0 * network(images)))

    def test_rounded_activations_whose_gradient_is_zero(self, run, network) -> None:
        def rounded(images):
            return network(tf.round(images * 15.0) / 15.0 + 0.0 * images)

        assert {"zero_gradients", "transfer"} <= warnings(run(rounded))
        white = tuple(Column(name=c.name, attacks={"white": c.attacks["white"]}) for c in BATTERY.columns[1::2])
        assert {"zero_gradients", "gradient_free"} <= warnings(run(rounded, Battery(name="white", columns=white)))

    def test_so_they_do_in_l2(self, run, network) -> None:
        def rounded(images):
            return network(tf.round(images * 15.0) / 15.0 + 0.0 * images)

        ball = {"epsilon": 1.0, "norm": "l2"}
        gradient = {"pgd": PGD(**ball, steps=10), "ddn": DDN(epsilon=1.0, steps=20)}
        square = {"square": Square(**ball, queries=300)}
        columns = tuple(Column(name=key, attacks={"white": attack}) for key, attack in (gradient | square).items())
        assert {"zero_gradients", "gradient_free"} <= warnings(run(rounded, Battery(name="white", columns=columns)))

    def test_what_the_nearest_images_break_is_not_hidden_from_gradients(self, run, network) -> None:
        ball = {"epsilon": 1.0, "norm": "l2"}
        attacks = {
            "short": PGD(**ball, steps=1, step_size=0.01, random_start=False),
            "ddn": DDN(epsilon=1.0),
            "square": Square(**ball, queries=300),
        }
        columns = tuple(Column(name=key, attacks={"white": attack}) for key, attack in attacks.items())
        for kept, verdict in ((columns, "ok"), (columns[::2], "warning")):
            checks = run(network, Battery(name="white", columns=kept)).checks
            assert next(check.verdict for check in checks if check.name == "gradient_free") == verdict

    def test_rounded_activations_that_have_no_gradient(self, run, network) -> None:
        report = run(lambda images: network(tf.round(images * 15.0) / 15.0))
        assert warnings(report) == {"zero_gradients"}
        assert "zero_gradients: the model has no gradient" in str(report)
        assert "No white-box fgsm, pgd on m: they need a gradient, and it has none." in report.notes()
        assert report.rows()[1][2] == "-"
        assert report.rows()[1][3].endswith("/-")
        assert report.accuracy("m", "square", "white").value < report.accuracy("m", "clean").value

    @pytest.mark.parametrize("share", [0.01, 0.6])
    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_gradients_that_are_no_numbers(self, number, share, run, network) -> None:
        report = run(zero_gradient(network, share, number), check_strength=True)
        assert "zero_gradients" in warnings(report)
        found = next(check for check in report.checks if check.name == "zero_gradients")
        assert found.figures["non_finite"] == pytest.approx(share, abs=0.1)
        assert f"or not finite and taken as 0 ({found.figures['non_finite']:.0%}"[:-2] in found.sentence
        assert np.isfinite([outcome.correct.mean() for outcome in report.outcomes]).all()
        assert "inside_the_ball" not in warnings(report)

    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_an_attack_whose_images_are_no_numbers(self, number, run, network) -> None:
        report = run(network, with_white_pgd(Lost(epsilon=EPSILON, steps=3, number=number), noise=EPSILON))
        assert report.accuracy("m", "pgd", "white").value == 0.0
        assert "inside_the_ball" in warnings(report)
        assert "an adversarial image has pixels that are infinite or NaN" in str(report)

    def test_softmax_outputs(self, run, network) -> None:
        with pytest.raises(InputError, match=r"models\['m'\]: expected logits. Received: probabilities"):
            run(lambda images: tf.nn.softmax(network(images)))

    def test_dropout_that_is_left_on(self, run, network) -> None:
        assert "randomised" in warnings(run(lambda images: network(tf.nn.dropout(images, 0.1))))

    def test_an_attack_with_the_sign_flipped(self, run, network) -> None:
        battery = with_white_pgd(Flipped(epsilon=0.4, steps=10), noise=0.4)
        report = run(network, battery, check_strength=True)
        assert {"noise", "epsilon"} <= warnings(report)
        assert "stays above chance at 0.5, where every image can be grey" in str(report)

    def test_an_8_bit_model_with_zeroed_gradients(self, run, quantized) -> None:
        report = run(zero_gradient(quantized, share=0.9))
        assert {"zero_gradients", "transfer"} <= warnings(report)
        assert "warning: m, transfer: gray-box pgd breaks" in str(report)
        assert "zero_gradients" not in warnings(run(quantized, BATTERY.only(["pgd"])))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flipped(PGD):
    """PGD down the loss."""

    name: ClassVar[str] = "flipped"

    def _perturb(self, logits, images, labels, seed, indices):
        return super()._perturb(lambda x: -logits(x), images, labels, seed, indices)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lost(PGD):
    """PGD that leaves a pixel without a value."""

    name: ClassVar[str] = "lost"
    number: float = np.nan

    def _perturb(self, logits, images, labels, seed, indices):
        found = super()._perturb(logits, images, labels, seed, indices)
        found[:, 0, 0] = self.number
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outside(PGD):
    """PGD in a larger ball than it says."""

    name: ClassVar[str] = "outside"

    def _perturb(self, logits, images, labels, seed, indices):
        return PGD(epsilon=1.01 * self.epsilon)._perturb(logits, images, labels, seed, indices)


def test_an_attack_that_leaves_its_ball_is_named(run, network) -> None:
    battery = with_white_pgd(Outside(epsilon=EPSILON), noise=EPSILON)
    assert warnings(run(network, battery)) == {"inside_the_ball"}


def test_in_an_ensemble_each_image_is_held_to_the_ball_of_its_own_attack(run, network) -> None:
    columns = (Column(name="wide", attacks={"white": PGD(epsilon=0.2, steps=5)}),
               Column(name="narrow", attacks={"white": FGSM(epsilon=0.02)}))  # fmt: skip
    report = run(network, Battery(name="x", columns=columns, ensemble=True))
    assert "inside_the_ball" not in warnings(report)


def with_white_pgd(attack: Attack, noise: float) -> Battery:
    columns = (
        Column(name="pgd", attacks={"white": attack}),
        Column(name="uniform", attacks={"none": UniformNoise(epsilon=noise)}),
    )
    return Battery(name="planted", columns=columns)


def test_checks_that_the_battery_has_no_columns_for_are_listed(run, network) -> None:
    report = run(network, Battery(name="short", columns=(Column(name="fgsm", attacks={"white": FGSM(epsilon=0.1)}),)))
    assert report.check_lines()[-1] == (
        "Not checked (no column for it, no gradient, or turned off): "
        "transfer, one_step, gradient_free, noise, more_steps, more_restarts, epsilon."
    )


def test_checks_survive_json_and_stand_under_every_table(run, network) -> None:
    report = run(zero_gradient(network))
    assert RobustnessReport.from_json(report.to_json()) == report
    for line in report.check_lines():
        assert line in str(report)
        assert line in report.to_markdown()


@pytest.mark.parametrize(("moved", "excess"), [(0.25, 0.0), (0.5, 0.25), (-0.75, 0.5), (np.nan, np.inf), (0.75, 0.5)])
def test_the_excess_is_how_far_an_image_leaves_the_ball_or_the_range(moved, excess) -> None:
    images = np.full((2, 2, 2, 1), 0.5, np.float32)
    adversarial = images.copy()
    adversarial[1, 0, 0, 0] += moved
    assert excess_of(FGSM(epsilon=0.25), adversarial, images) == pytest.approx(excess)


class TestSecondSearch:
    """Of a quantized model, or where the gradient has many exact zeros, white-box PGD searches again."""

    def test_it_is_not_made_where_nothing_is_hidden(self, run, network) -> None:
        report = run(network)
        assert not any(outcome.second_search for outcome in report.outcomes)

    def test_it_breaks_what_zeros_hid_and_is_named(self, run, network) -> None:
        def unseeing(images):
            """Nothing below a tenth is seen: no gradient at the black pixels, though raising them would tell."""
            return network(tf.nn.relu(images - 0.05) + 0.05)

        report = run(unseeing, BATTERY.only(["pgd"]), float_twins={"m": network})
        first, second = (
            np.mean([o.correct for o in report.outcomes if o.knowledge == "white" and o.second_search == second])
            for second in (False, True)
        )
        assert second < first
        assert report.accuracy("m", "pgd", "white").value == second
        assert "White-box pgd on m count a second search by Auto-PGD" in str(report)

    def test_its_white_box_cell_is_at_most_the_gray_box_one(self, run, network) -> None:
        report = run(zero_gradient(network), BATTERY.only(["pgd"]))
        gray, white = (report.accuracy("m", "pgd", knowledge).value for knowledge in ("gray", "white"))
        assert white <= gray < 0.8

    def test_a_float_twin_gives_the_gradient_that_the_model_lacks(self, run, network) -> None:
        battery = Battery(name="white", columns=(Column(name="pgd", attacks={"white": STEPS}),))
        alone = run(zero_gradient(network), battery)
        helped = run(zero_gradient(network), battery, float_twins={"m": network})
        sound = run(network, battery)
        assert alone.accuracy("m", "pgd", "white").value >= 0.85
        assert helped.accuracy("m", "pgd", "white").value <= sound.accuracy("m", "pgd", "white").value + 0.02


def test_float_twins_of_unknown_models_are_refused(run, network) -> None:
    with pytest.raises(ValueError, match="float_twins: expected one of m. Received: 'lq'"):
        run(network, float_twins={"lq": network})
