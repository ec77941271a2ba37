"""The worst example of each image is saved with all that is needed to check it."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tf_laq._internal import archives
from tf_laq.attacks import FGSM, PGD, Battery, Column, UniformNoise
from tf_laq.errors import InputError
from tf_laq.evaluation import AdversarialExamples, evaluate, load_examples

COLUMNS = (
    Column(name="weak", attacks={"white": FGSM(epsilon=0.02)}),
    Column(name="strong", attacks={"gray": FGSM(epsilon=0.05), "white": FGSM(epsilon=0.05)}),
    Column(name="l2", attacks={"white": PGD(epsilon=0.05, norm="l2", steps=3)}),
    Column(name="noise", attacks={"none": UniformNoise(epsilon=0.03)}),
)


@pytest.fixture(scope="module", params=[False, True], ids=["apart", "ensemble"])
def evaluated(request, linear, images, labels, tmp_path_factory):
    """Return a report of two models and their saved examples, in parts."""
    folder = tmp_path_factory.mktemp("kept")
    report = evaluate(
        {"first": linear[0], "second": linear[1]},
        images,
        labels,
        battery=Battery(name="x", columns=COLUMNS, ensemble=request.param),
        surrogates={"third": linear[2]},
        part_size=20,
        seed=3,
        folder=folder,
    )
    return report, load_examples(folder)


def margins(model, images, labels):
    outputs = model(tf.constant(images)).numpy()
    return outputs[np.arange(len(labels)), labels] - outputs[np.arange(len(labels)), 1 - labels]


def test_they_break_exactly_what_the_worst_case_counts_as_broken(evaluated, linear) -> None:
    report, saved = evaluated
    for examples, model in zip(saved, linear, strict=False):
        np.testing.assert_array_equal(examples.correct, report.surviving(examples.model))
        np.testing.assert_array_equal(np.argmax(model(examples.images), axis=1), examples.predicted)
        np.testing.assert_array_equal(np.argmax(model(examples.clean), axis=1), examples.clean_predicted)


def test_they_have_the_lowest_margin_of_all_attacks_on_the_model(evaluated, linear, images, labels) -> None:
    report, (first, _) = evaluated
    signs = np.sign(linear_direction(linear[0]))[None] * (1 - 2 * labels)[:, None, None, None]
    strongest = margins(linear[0], images - 0.05 * signs, labels)
    # In an ensemble, the later attacks do not try what is broken.
    left = first.correct if report.battery.ensemble else first.clean_predicted == labels
    assert left.sum() > 10
    np.testing.assert_allclose(first.margins[left], strongest[left], atol=1e-5)
    assert set(first.columns[left]) == {"strong"}
    assert set(first.knowledge[left]) == {"white"}
    np.testing.assert_allclose(margins(linear[0], first.images, labels), first.margins, atol=1e-5)


def linear_direction(model):
    image = tf.Variable(np.full((1, 4, 4, 1), 0.5, np.float32))
    with tf.GradientTape() as tape:
        margin = model(image)[0, 0]
    return tape.gradient(margin, image).numpy()[0]


def test_they_carry_the_data_the_settings_and_the_seed(evaluated, images, labels) -> None:
    report, saved = evaluated
    assert [examples.model for examples in saved] == ["first", "second"]
    for examples in saved:
        np.testing.assert_array_equal(examples.clean, images)
        np.testing.assert_array_equal(examples.labels, labels)
        np.testing.assert_array_equal(examples.indices, np.arange(50))
        assert (examples.battery, examples.seed, examples.sha256) == (report.battery, 3, "")


def test_all_are_inside_their_balls_and_the_range(evaluated) -> None:
    report, saved = evaluated
    assert max(examples.excess() for examples in saved) < 1e-6
    assert {c.verdict for c in report.checks if c.name == "inside_the_ball"} == {"ok"}


def test_one_that_leaves_its_ball_is_found(evaluated) -> None:
    _, (first, _) = evaluated
    moved = first.images.copy()
    moved[7, 0, 0, 0] = np.where(first.clean[7, 0, 0, 0] > 0.5, 0.2, 0.8)
    distance = abs(moved[7, 0, 0, 0] - first.clean[7, 0, 0, 0])
    assert dataclasses.replace(first, images=moved).excess() >= distance - 0.05 - 1e-6
    assert dataclasses.replace(first, images=moved + np.nan).excess() == np.inf


def test_the_weights_of_keras_models_are_fingerprinted(images, labels, tmp_path) -> None:
    import tf_keras

    def model(seed):
        tf_keras.utils.set_random_seed(seed)
        return tf_keras.Sequential([tf_keras.Input((4, 4, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(2)])

    models = {"a": model(0), "same": model(0), "other": model(1)}
    battery = Battery(name="x", columns=COLUMNS[3:])
    evaluate(models, images[:4], labels[:4], battery=battery, folder=tmp_path)
    hashes = [examples.sha256 for examples in load_examples(tmp_path)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert {len(found) for found in hashes} == {64}


def test_they_survive_being_saved(evaluated, tmp_path) -> None:
    _, (first, _) = evaluated
    first.only([3, 1]).save(tmp_path / "few.npz")
    found = AdversarialExamples.load(tmp_path / "few.npz")
    for field in dataclasses.fields(first):
        value, original = getattr(found, field.name), getattr(first, field.name)
        if isinstance(value, np.ndarray):
            assert value.dtype == original.dtype
            np.testing.assert_array_equal(value, original[[3, 1]])
        else:
            assert value == original


def with_header(path, **changes):
    """Write the file again with another header."""
    with np.load(path) as content:
        arrays = dict(content)
    arrays["header"] = np.array(json.dumps(json.loads(str(arrays["header"])) | changes))
    archives.write(path, arrays)


@pytest.mark.parametrize(
    ("damage", "received"),
    [
        (lambda path: with_header(path, version=99), "version 99.*Make it again"),
        (lambda path: with_header(path, document="other"), "document: other"),
        (lambda path: with_header(path, seed=5), "other content than was written"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "truncated"),
        (lambda path: path.write_bytes(b"not a zip file"), "something else"),
        (lambda path: np.savez(path, other=np.zeros(3)), "something else .*no checksum"),
        (lambda path: archives.write(path, {"other": np.zeros(3)}), "something else"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "something else"),
        (lambda path: path.unlink(), "FileNotFoundError"),
    ],
)
def test_files_of_another_kind_or_version_are_refused(damage, received, evaluated, tmp_path) -> None:
    path = tmp_path / "few.npz"
    evaluated[1][0].only([0]).save(path)
    damage(path)
    expected = "few.npz: expected a whole tf_laq adversarial examples (file|document), version 2"
    with pytest.raises(InputError, match=f"{expected}.*{received}"):
        AdversarialExamples.load(path)
