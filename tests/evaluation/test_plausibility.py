"""What is refused before the first attack, and what a check says of figures that can mean nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tf_laq.attacks import DDN, FGSM, PGD, Battery, CarliniWagner, Column, Square, UniformNoise
from tf_laq.errors import InputError
from tf_laq.evaluation import RobustnessReport, accuracy_curve, evaluate

EPSILON, COUNT = 0.1, 60
SQUARE = Column(name="square", attacks={"white": Square(epsilon=EPSILON, queries=40)})
NOISE = Column(name="noise", attacks={"none": UniformNoise(epsilon=EPSILON)})


@pytest.fixture
def run(digits, network):
    """Return a function that evaluates a network on digits and gives the check of a name."""
    images, labels = (part[1200 : 1200 + COUNT] for part in digits)

    def check(name, model=network, columns=(NOISE,), **options):
        battery = Battery(name="x", columns=columns)
        options = {"images": images, "labels": labels, "check_strength": False, **options}
        report = evaluate({"m": model}, battery=battery, **options)
        return next((check for check in report.checks if check.name == name), None)

    return check


@pytest.mark.parametrize("wrong", [lambda x: x / 255.0 + 0.5, lambda x: 1.0 - x, lambda x: x[:, ::-1, ::-1] * 0])
def test_a_clean_accuracy_at_chance_is_warned_of(wrong, run, network) -> None:
    check = run("clean_accuracy", lambda images: network(wrong(images)))
    assert check.verdict == "warning"
    assert "where always naming the most frequent class would give" in check.sentence
    assert "see Classifier" in check.sentence


def test_one_far_above_chance_is_not(run) -> None:
    check = run("clean_accuracy")
    assert (check.verdict, check.figures["accuracy"] > 0.8) == ("ok", True)


def test_chance_is_the_share_of_the_most_frequent_class(run, digits) -> None:
    labels = digits[1][1200 : 1200 + COUNT]
    most = np.bincount(labels).max() / COUNT
    assert run("clean_accuracy").figures["chance"] == pytest.approx(most, rel=1e-2)


def test_for_images_of_one_class_chance_is_to_guess(run, digits) -> None:
    images, labels = (part[digits[1] == 3][:COUNT] for part in digits)
    check = run("clean_accuracy", images=images, labels=labels)
    assert (check.verdict, check.figures["chance"]) == ("ok", 0.1)
    assert "where guessing would give 10.0%" in check.sentence


@pytest.mark.parametrize("expected", [1.0, {"m": 0.99}])
def test_one_far_below_the_expected_is_warned_of(expected, run, network) -> None:
    def often_wrong(images):
        return network(images) * np.where(np.arange(len(images)) % 5 == 0, -1.0, 1.0).astype(np.float32)[:, None]

    check = run("clean_accuracy", lambda images: often_wrong(images), expected_clean=expected)
    assert (check.verdict, check.figures["expected"]) == ("warning", pytest.approx(0.99, abs=0.011))
    assert "are expected" in check.sentence
    assert run("clean_accuracy", expected_clean=0.9).verdict == "ok"


@pytest.mark.parametrize("expected", [{"other": 0.9}, 90, {"m": -1.0}, "high"])
def test_wrong_expectations_are_refused(expected, run) -> None:
    with pytest.raises(InputError, match="^expected_clean: "):
        run("clean_accuracy", expected_clean=expected)


@pytest.mark.parametrize(
    ("attack", "diameter"),
    [
        (FGSM(epsilon=8.5, norm="l2"), 8),
        (DDN(epsilon=9.0), 8),
        (CarliniWagner(epsilon=128), 8),
    ],
)
def test_a_radius_above_the_diameter_is_refused_before_the_start(attack, diameter, run) -> None:
    column = Column(name="c", attacks={"white": attack})
    expected = rf"^column c, white, epsilon: expected at most {diameter}, .*give {attack.epsilon:g} / 255"
    with pytest.raises(InputError, match=expected):
        run("radius", columns=(column,))


def test_so_it_is_in_curves(digits, network) -> None:
    images, labels = (part[:8] for part in digits)
    with pytest.raises(InputError, match="epsilon: expected at most 1 in L-inf"):
        accuracy_curve({"m": network}, images, labels, attack=PGD(epsilon=0.1), epsilons=[0.5, 8])


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [
        (UniformNoise(epsilon=0.6), "warning"),
        (UniformNoise(epsilon=0.5), "ok"),
        (FGSM(epsilon=4.5, norm="l2"), "warning"),
        (FGSM(epsilon=3.5, norm="l2"), "ok"),
    ],
)
def test_a_radius_above_half_of_it_is_warned_of(attack, verdict, run) -> None:
    column = Column(name="c", attacks={"none" if isinstance(attack, UniformNoise) else "white": attack})
    assert run("radius", columns=(column,)).verdict == verdict


def test_a_model_without_gradients_is_searched_by_attacks_that_need_none_only(run, network) -> None:
    def of_arrays(images):
        return np.asarray(network(images))

    pgd = Column(name="pgd", attacks={"white": PGD(epsilon=EPSILON, steps=2)})
    for columns in ((NOISE,), (NOISE, pgd)):
        check = run("searched", of_arrays, columns)
        assert (check.verdict, "add the attack square" in check.sentence) == ("warning", True)
    assert run("searched", of_arrays, (NOISE, pgd, SQUARE)).verdict == "ok"
    assert run("searched", network, (pgd,)).verdict == "ok"


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("knowledge", ["white", "gray"])
def test_columns_that_need_more_classes_are_left_out_with_a_line(classes, knowledge, digits, network) -> None:
    import tensorflow as tf

    kept = digits[1] < classes
    images, labels = digits[0][kept][:40], digits[1][kept][:40]
    models = {"m": lambda x: network(x)[:, :classes]}
    columns = tuple(
        column if column.name not in ("apgd_t", "mim", "apgd_ce") else small(column, knowledge)
        for column in Battery.preset("digits", "strong").columns
        if column.name != "square"
    )
    battery = Battery(name="small", columns=(*columns, SQUARE), ensemble=True)
    surrogates = {"s": lambda x: tf.concat([network(x)[:, 1:classes], network(x)[:, :1]], 1)}
    report = evaluate(models, images, labels, battery=battery, surrogates=surrogates)
    least = battery.columns[battery.names.index("apgd_t")].attacks[knowledge].fewest_classes
    assert report.has("m", "apgd_t", knowledge) is (least <= classes)
    if knowledge == "white" and least > classes:
        assert f"No white-box apgd_t on m: {least} classes are needed, and it has {classes}." in report.notes()
    assert report.worst_case("m").value < report.accuracy("m", "clean").value
    assert RobustnessReport.from_json(report.to_json()) == report


def small(column, knowledge):
    """Return a column with few steps, and with APGD-T for one knowledge only."""
    import dataclasses

    attacks = {key: dataclasses.replace(attack, steps=5) for key, attack in column.attacks.items()}
    if column.name == "apgd_t":
        attacks = {knowledge: attacks["white"]}
    return dataclasses.replace(column, attacks=attacks)
