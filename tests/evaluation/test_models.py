"""What can be attacked besides Keras models: functions of arrays, and TensorFlow Lite files."""

from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.attacks import PGD, Battery, Column, Square
from tf_laq.errors import InputError
from tf_laq.evaluation import evaluate, load_examples

EPSILON, COUNT = 0.1, 24
PGD_10 = PGD(epsilon=EPSILON, steps=10)
BATTERY = Battery(
    name="models",
    columns=(
        Column(name="pgd", attacks={"gray": PGD_10, "white": PGD_10}),
        Column(name="square", attacks={"white": Square(epsilon=EPSILON, queries=60)}),
    ),
)


@pytest.fixture(scope="module")
def data(digits):
    return tuple(part[1200 : 1200 + COUNT] for part in digits)


@pytest.fixture(scope="module")
def evaluated(keras_network, data, tmp_path_factory):
    """Return the report of a Keras model and its exported file, and their saved examples."""
    folder = tmp_path_factory.mktemp("models")
    laq.export_tflite(keras_network, folder / "m.tflite", "float32")
    models = {"file": laq.tflite.load(folder / "m.tflite"), "keras": keras_network}
    options = {"surrogates": {"keras": keras_network}, "folder": folder / "kept", "part_size": 10}
    report = evaluate(models, *data, battery=BATTERY, check_strength=False, **options)
    assert evaluate(models, *data, battery=BATTERY, check_strength=False, **options) == report
    return report, load_examples(folder / "kept")


def test_a_tflite_file_is_attacked_through_its_keras_twin_and_its_scores(evaluated) -> None:
    report, _ = evaluated
    # The file computes what the model does, so what breaks one breaks the other.
    np.testing.assert_array_equal(report.correct("file", "pgd", "gray"), report.correct("keras", "pgd", "white"))
    np.testing.assert_array_equal(report.correct("file", "square", "white"), report.correct("keras", "square", "white"))
    assert report.worst_case("file") == report.worst_case("keras")
    assert report.worst_case("file").value < report.accuracy("file", "clean").value


def test_its_columns_that_need_a_gradient_stay_empty_by_name(evaluated) -> None:
    report, _ = evaluated
    assert report.rows()[1][2].endswith("/-")
    assert "No white-box pgd on file: they need a gradient, and it has none." in report.notes()
    (check,) = [c for c in report.checks if (c.model, c.name) == ("file", "zero_gradients")]
    assert (check.verdict, check.figures) == ("warning", {})
    assert "no gradient" in check.sentence


def test_its_worst_examples_are_saved_too(evaluated) -> None:
    report, (of_file, _) = evaluated
    assert (of_file.model, of_file.sha256) == ("file", "")
    np.testing.assert_array_equal(of_file.correct, report.surviving("file"))


def test_a_function_of_arrays_has_the_outcomes_of_the_same_function_of_tensors(data) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)

    def of_arrays(images):
        return np.asarray(images).reshape(len(images), -1) @ weights

    def of_tensors(images):
        import tensorflow as tf

        return tf.matmul(tf.reshape(images, [-1, 64]), weights)

    images, labels = data[0], np.argmax(of_arrays(data[0]), axis=1)
    report = evaluate({"a": of_arrays, "t": of_tensors}, images, labels, battery=BATTERY.only(["square"]))
    arrays, tensors = (report.correct(name, "square", "white") for name in ("a", "t"))
    assert not arrays.all()
    np.testing.assert_array_equal(arrays, tensors)


@pytest.mark.parametrize("argument", ["surrogates", "float_twins"])
def test_what_examples_are_made_on_needs_a_gradient(argument, network, data) -> None:
    def of_arrays(images):
        return np.asarray(network(images))

    with pytest.raises(InputError, match=rf"{argument}\['m'\]: expected a model with a gradient.*Give the Keras model"):
        evaluate({"m": network}, *data, battery=BATTERY, **{argument: {"m": of_arrays}})
