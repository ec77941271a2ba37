from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import FGSM, PGD, Battery, CarliniWagner, Column, Square, UniformNoise
from tf_laq.errors import InputError
from tf_laq.evaluation import evaluate

COUNT, EPSILON = 50, 0.05
FGSM_COLUMN = Column(name="fgsm", attacks={"gray": FGSM(epsilon=EPSILON), "white": FGSM(epsilon=EPSILON)})
BATTERY = Battery(name="test", columns=(FGSM_COLUMN,))


def margins(directions, images, labels, of=0, along=None):
    """Return the margins of model `of` after the FGSM step of model `along`, as calculation gives them."""
    signs = (1 - 2 * labels)[:, None, None, None]
    moved = images if along is None else images - EPSILON * signs * np.sign(directions[along])
    return np.sum((moved - 0.5) * signs * directions[of], axis=(1, 2, 3))


@pytest.fixture
def run(linear, images, labels):
    """Return a function that evaluates the first linear model."""

    def evaluation(count=COUNT, **options):
        options = {"battery": BATTERY, "check_strength": False, **options}
        return evaluate({"first": linear[0]}, images[:count], labels[:count], **options)

    return evaluation


def test_white_box_outcomes_are_those_of_calculation(directions, images, labels, run) -> None:
    report = run()
    clean = margins(directions, images, labels) > 0
    white = margins(directions, images, labels, along=0) > 0
    assert 5 <= white.sum() < clean.sum() == 45
    np.testing.assert_array_equal(report.correct("first", "clean"), clean)
    np.testing.assert_array_equal(report.correct("first", "fgsm", "white"), white)


def test_gray_box_examples_come_from_the_surrogate(directions, images, labels, run, linear) -> None:
    report = run(surrogates={"second": linear[1]})
    clean = margins(directions, images, labels) > 0
    gray = margins(directions, images, labels, along=1) > 0
    np.testing.assert_array_equal(report.correct("first", "fgsm", "gray"), clean & gray)
    assert (clean & ~gray).any()


def test_a_gray_box_example_of_any_surrogate_counts(run, linear) -> None:
    surrogates = {name: linear[i] for name, i in (("second", 1), ("third", 2))}
    report = run(surrogates=surrogates)
    each = [report.correct("first", "fgsm", "gray", name) for name in surrogates]
    assert (each[0] != each[1]).any()
    np.testing.assert_array_equal(report.correct("first", "fgsm", "gray"), each[0] & each[1])


def test_what_is_misclassified_already_stays_broken_though_an_attack_would_mend_it(
    directions, images, labels, run, linear
) -> None:
    clean = margins(directions, images, labels) > 0
    mended = margins(directions, images, labels) + EPSILON * np.abs(directions[0]).sum() > 0
    assert (mended & ~clean).any()
    report = run(surrogates={"opposite": lambda x: -linear[0](x)})
    np.testing.assert_array_equal(report.correct("first", "fgsm", "gray"), clean)


def test_a_model_is_no_surrogate_for_itself(images, labels, linear) -> None:
    first, second = linear[0], linear[1]
    models = {"first": first, "second": second}
    report = evaluate(models, images, labels, battery=BATTERY, surrogates={"float": first})
    assert report.rows()[1][2].startswith("-/")
    with pytest.raises(InputError, match="outcome"):
        report.correct("first", "fgsm", "gray")
    assert report.correct("second", "fgsm", "gray").any()


def test_examples_of_a_source_are_made_once_in_batches_of_about_one_size(images, labels, linear, noting) -> None:
    battery = Battery(name="x", columns=(Column(name="c", attacks={"gray": noting, "white": noting}),))
    models = {str(i): linear[i] for i in range(3)}
    options = {"batch_size": 20, "check_strength": False}
    evaluate(models, images, labels, battery=battery, surrogates={"again": models["0"]}, **options)
    assert len(noting.seen) == 3 * 3
    assert {len(indices) for indices in noting.seen} == {16, 17}
    for source in range(3):
        np.testing.assert_array_equal(np.concatenate(noting.seen[3 * source : 3 * source + 3]), np.arange(COUNT))


def test_the_report_does_not_depend_on_batches_or_parts(run, linear) -> None:
    pgd, square = PGD(epsilon=EPSILON, steps=4), Square(epsilon=EPSILON, queries=20)
    columns = (
        Column(name="cw", attacks={"white": CarliniWagner(steps=10, binary_search_steps=2, learning_rate=0.1)}),
        Column(name="pgd", attacks={"gray": pgd, "white": pgd}),
        Column(name="noise", attacks={"none": UniformNoise(epsilon=0.1)}),
        Column(name="square", attacks={"white": square}),
    )
    for ensemble in (False, True):
        battery = Battery(name="x", columns=columns, ensemble=ensemble)
        options = {"surrogates": {"second": linear[1]}, "float_twins": {"first": linear[2]}, "seed": 5}
        whole = run(count=10, battery=battery, check_strength=True, **options)
        assert len({str(outcome.correct) for outcome in whole.outcomes}) > 3
        for batch_size, part_size in ((4, 1000), (128, 3), (1, 1)):
            parts = {"batch_size": batch_size, "part_size": part_size, "check_strength": part_size == 3}
            again = run(count=10, battery=battery, **options, **parts)
            assert again.outcomes == whole.outcomes
            assert all(check in whole.checks for check in again.checks)


def test_the_seed_decides_the_noise(run) -> None:
    battery = Battery(name="x", columns=(Column(name="n", attacks={"none": UniformNoise(epsilon=0.3)}),))
    first, again, other = (run(battery=battery, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.outcomes != other.outcomes


def test_a_minimum_norm_attack_is_held_to_its_budget_and_reports_its_median(directions, images, labels, run) -> None:
    distances = np.abs(margins(directions, images, labels)) / np.linalg.norm(directions[0])
    right = margins(directions, images, labels) > 0
    budget = float(np.median(distances[right]))
    attack = CarliniWagner(epsilon=budget, learning_rate=0.01)
    battery = Battery(name="x", columns=(Column(name="cw", attacks={"white": attack}),))
    report = run(battery=battery)
    assert report.median_distortion("first", "cw") == pytest.approx(budget, rel=0.05)
    assert abs(report.accuracy("first", "cw", "white").successes - right.sum() / 2) <= 3


@pytest.fixture(scope="module")
def keras_models():
    """Return an untrained tf_keras network without and with a softmax at the end, of the same weights."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    plain = tf_keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)])
    return plain, tf_keras.Sequential([layers.Input((8, 8, 1)), *plain.layers, layers.Softmax()])


def test_a_keras_model_runs_the_whole_digits_battery_with_or_without_its_softmax(keras_models) -> None:
    random = np.random.default_rng(0)
    images = random.random((12, 8, 8, 1), dtype=np.float32)
    plain, with_softmax = keras_models
    labels = np.argmax(plain(images), axis=1)
    surrogate = linear_of_ten(random)
    models = {"plain": plain, "softmax": with_softmax}
    report = evaluate(models, images, labels, battery=Battery.preset("digits"), surrogates={"other": surrogate})
    assert len(report.rows()[0]) == 12
    assert report.rows()[1][1] == "100.0"
    assert report.rows()[1][1:] == report.rows()[2][1:]
    assert report.worst_case("plain").value < 1.0


def linear_of_ten(random):
    weights = tf.constant(random.normal(size=(64, 10)), tf.float32)
    return lambda images: tf.matmul(tf.reshape(images, [-1, 64]), weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "^batch_size: "),
        ({"seed": -1}, "^seed: "),
        ({"battery": "standard"}, "^battery: expected a Battery"),
        ({"models": {}}, "^models: expected a mapping"),
        ({"models": np.abs}, "^models: expected a mapping, each key of it a text"),
        ({"models": {"m": 3}}, "expected a Keras model, a function"),
        ({"models": {"m": lambda x: tf.nn.softmax(x[:, 0, :2, 0])}}, r"models\['m'\]: .*remove the softmax"),
        ({"models": {"m": lambda x: x[:, 0, :2, 0] / 0.0}}, r"models\['m'\]: expected finite logits"),
        ({"models": {"m": lambda x: x[:, 0]}}, r"models\['m'\]: expected logits of shape"),
        ({"surrogates": {"s": lambda x: x[:, 0, :2, 0] * np.nan}}, r"surrogates\['s'\]: expected finite"),
        ({"images": np.full((COUNT, 4, 4, 1), 2.0)}, "^images: "),
        ({"labels": np.zeros((COUNT, 2))}, "^labels: .*one-hot"),
        ({"labels": np.full(COUNT, 2)}, "^labels: expected class numbers below 2"),
    ],
)
def test_wrong_arguments_are_refused_by_name(changes, message, images, labels, linear) -> None:
    arguments = {"models": {"m": linear[0]}, "images": images, "labels": labels, **changes}
    with pytest.raises(InputError, match=message):
        evaluate(**{"battery": BATTERY, **arguments})


def test_images_of_another_shape_than_the_model_takes_are_refused(keras_models, images, labels) -> None:
    with pytest.raises(InputError, match=r"models\['net'\]: expected a model of images of shape \(4, 4, 1\)"):
        evaluate({"net": keras_models[0]}, images, labels, battery=BATTERY)


def test_nothing_is_printed_when_the_output_is_no_terminal(capfd, caplog, run) -> None:
    for _ in range(8):
        run()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "batch" not in printed.err
    assert "retracing" not in printed.err + caplog.text


class TestEnsemble:
    """The white-box attacks of an ensemble leave out what an earlier one broke."""

    COLUMNS = (
        Column(name="weak", attacks={"white": FGSM(epsilon=0.02)}),
        Column(name="noise", attacks={"none": UniformNoise(epsilon=0.05)}),
        Column(name="strong", attacks={"white": FGSM(epsilon=0.05)}),
        Column(name="strong_again", attacks={"gray": FGSM(epsilon=0.05), "white": FGSM(epsilon=0.01)}),
    )

    @pytest.fixture
    def both(self, run, linear):
        """Return the reports of the same attacks, each on its own and as an ensemble."""
        surrogates = {"second": linear[1]}
        batteries = (Battery(name="x", columns=self.COLUMNS, ensemble=ensemble) for ensemble in (False, True))
        return [run(battery=b, surrogates=surrogates, batch_size=7) for b in batteries]

    def test_the_worst_case_is_the_same(self, both) -> None:
        apart, together = both
        np.testing.assert_array_equal(together.surviving("first"), apart.surviving("first"))

    def test_a_white_box_cell_counts_the_earlier_ones_too(self, both) -> None:
        apart, together = both
        left = np.ones(COUNT, bool)
        for column in ("weak", "strong", "strong_again"):
            left = left & apart.correct("first", column, "white")
            np.testing.assert_array_equal(together.correct("first", column, "white"), left)
        assert left.sum() < apart.correct("first", "strong_again", "white").sum()

    def test_other_cells_do_not(self, both) -> None:
        apart, together = both
        for column, knowledge in (("noise", "none"), ("strong_again", "gray"), ("clean", "none")):
            cells = [report.correct("first", column, knowledge) for report in (apart, together)]
            np.testing.assert_array_equal(*cells)

    def test_the_table_says_so(self, both) -> None:
        assert "Ensemble: a white-box cell counts what is left after this and all earlier" in str(both[1])
        assert "Ensemble" not in str(both[0])

    def test_broken_examples_are_not_attacked_again(self, run) -> None:
        seen: list[int] = []

        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Counting(FGSM):
            name: ClassVar[str] = "counting"

            def _perturb(self, logits, images, labels, seed, indices):
                seen.extend(indices.tolist())
                return super()._perturb(logits, images, labels, seed, indices)

        columns = (Column(name="a", attacks={"white": FGSM(epsilon=0.05)}),
                   Column(name="b", attacks={"white": Counting(epsilon=0.04)}))  # fmt: skip
        report = run(battery=Battery(name="x", columns=columns, ensemble=True))
        assert set(seen) == set(np.flatnonzero(report.correct("first", "a", "white")))
