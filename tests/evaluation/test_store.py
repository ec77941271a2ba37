"""An evaluation that keeps its finished parts goes on after the last one, with the same inputs only."""

from __future__ import annotations

import dataclasses
import os
import random
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import FGSM, PGD, Attack, Battery, Column
from tf_laq.errors import InputError
from tf_laq.evaluation import RobustnessReport, evaluate, load_examples

BATTERY = Battery(name="short", columns=(Column(name="fgsm", attacks={"white": FGSM(epsilon=0.05)}),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluating(Attack):
    """Evaluates a second time while the first is at work."""

    name: ClassVar[str] = "evaluating"
    folder: str

    def _perturb(self, logits, images, labels, seed, indices):
        with pytest.raises(InputError, match="which another run is writing"):
            evaluate({"m": logits}, images, labels, battery=BATTERY, folder=self.folder)
        return images


def test_a_second_evaluation_in_a_folder_is_refused_until_the_first_has_ended(linear, images, labels, tmp_path):
    attack = Evaluating(folder=str(tmp_path))
    battery = Battery(name="two", columns=(Column(name="two", attacks={"white": attack}),))
    evaluate({"m": linear[0]}, images, labels, battery=battery, folder=tmp_path)
    assert not list(tmp_path.glob(".*"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failing(Attack):
    """Notes what it was asked for, and fails at one example as long as it is told to."""

    name: ClassVar[str] = "failing"
    seen: ClassVar[set[int]] = set()
    fails_at: ClassVar[int] = -1

    def _perturb(self, logits, images, labels, seed, indices):
        if self.fails_at in indices:
            raise KeyboardInterrupt
        self.seen.update(indices.tolist())
        return 1 - images


@pytest.fixture
def interrupted(linear, images, labels, tmp_path, monkeypatch):
    """Return a function that goes on with an evaluation that was interrupted at example 25 of 50."""
    battery = Battery(name="x", columns=(Column(name="failing", attacks={"none": Failing()}),))

    def run(**changes):
        options = {"battery": battery, "part_size": 10, "folder": tmp_path / "kept", **changes}
        return evaluate({"m": linear[0]}, images, labels, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Failing, "fails_at", 25)
        with pytest.raises(KeyboardInterrupt):
            run()
    Failing.seen.clear()
    return run


def test_finished_parts_are_not_attacked_again(interrupted) -> None:
    whole = interrupted(folder=None)
    Failing.seen.clear()
    assert interrupted() == whole
    assert Failing.seen == set(range(20, 50))
    Failing.seen.clear()
    assert interrupted() == whole
    assert Failing.seen == set()


def test_another_batch_size_goes_on_too(interrupted) -> None:
    assert interrupted(batch_size=3) == interrupted(folder=None)


def test_a_finished_evaluation_leaves_its_outcomes_and_examples_only(interrupted, tmp_path) -> None:
    assert {p.name for p in (tmp_path / "kept").iterdir()} == {"inputs.json", "part-0000.npz", "part-0001.npz"}
    interrupted()
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {"inputs.json", "outcomes.npz", "examples-00-m.npz", "report.json"}


class Counting:
    """A model of images that counts how often it is called, and whether somebody follows its gradient."""

    def __init__(self, logits) -> None:
        self.logits, self.calls, self.gradients = logits, 0, 0

    def __call__(self, images):
        self.calls += 1

        @tf.custom_gradient
        def watched(batch):
            def gradient(upstream):
                self.gradients += 1
                return upstream

            return batch, gradient

        return self.logits(watched(images))


@pytest.fixture
def finished(linear, images, labels, tmp_path):
    """Return a model with the report of its evaluation, and a function that gives the report of another one there."""
    model = Counting(linear[0])
    pgd = Column(name="pgd", attacks={"white": PGD(epsilon=0.05, steps=3)})

    def run(**changes):
        options = {"battery": Battery(name="x", columns=(pgd,)), "folder": tmp_path, **changes}
        return evaluate({"m": model}, images, labels, float_twins={"m": linear[1]}, **options)

    report = run()
    model.calls = model.gradients = 0
    return model, report, run


def test_a_finished_evaluation_calls_a_model_only_to_know_it_again(finished) -> None:
    model, report, run = finished
    assert run() == report
    # Once to see that its outputs are logits, and once for the outputs that tell models apart.
    assert (model.calls, model.gradients) == (2, 0)


def test_strength_is_checked_later_on_the_kept_outcomes(finished) -> None:
    model, report, run = finished
    strength = {"more_steps", "more_restarts", "epsilon"}
    without = run(check_strength=False)
    assert without.outcomes == report.outcomes
    assert [check for check in report.checks if check.name not in strength] == list(without.checks)
    model.gradients = 0
    assert run(check_strength=False) == without
    assert model.gradients == 0
    assert run() == report


def test_a_damaged_report_is_made_again(finished, tmp_path) -> None:
    _, report, run = finished
    (tmp_path / "report.json").write_text("{")
    assert run() == report
    assert RobustnessReport.load(tmp_path / "report.json") == report


def test_inputs_of_which_nothing_was_found_yet_hinder_nothing(finished, tmp_path) -> None:
    *_, run = finished
    for path in tmp_path.iterdir():
        if path.name != "inputs.json":
            path.unlink()
    other = run(seed=1)
    assert other.seed == 1
    assert run(seed=1) == other


def keras_model(value):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4, 4, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(2)])
    model.set_weights([np.full((16, 2), [[value, -value]], np.float32), np.zeros(2, np.float32)])
    return model


@pytest.fixture(scope="module")
def kept(linear, images, labels, tmp_path_factory):
    """Return the folder of a finished evaluation, and a function that runs it there again with changes."""
    folder = tmp_path_factory.mktemp("kept")
    arguments = {
        "models": {"m": keras_model(1.0)},
        "images": images,
        "labels": labels,
        "battery": BATTERY,
        "surrogates": {"s": linear[1]},
        "check_strength": False,
    }

    def run(**changes) -> RobustnessReport:
        return evaluate(**{**arguments, "folder": folder, **changes})

    run()
    return folder, run


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda images, labels, linear: {"images": 1 - images}, "images"),
        (lambda images, labels, linear: {"labels": 1 - labels}, "labels"),
        (lambda images, labels, linear: {"seed": 1}, "seed"),
        (lambda images, labels, linear: {"part_size": 20}, "part_size"),
        (lambda images, labels, linear: {"battery": Battery.preset("digits").only(["pgd"])}, "battery"),
        (lambda images, labels, linear: {"models": {"m": keras_model(1.0001)}}, r"models\['m'\]"),
        (lambda images, labels, linear: {"models": {"other": keras_model(1.0)}}, r"models \(m\)"),
        (lambda images, labels, linear: {"surrogates": {"s": linear[2]}}, r"surrogates\['s'\]"),
        (lambda images, labels, linear: {"surrogates": {}}, r"surrogates \(s\)"),
        (lambda images, labels, linear: {"float_twins": {"m": linear[0]}}, r"float_twins \(none\)"),
    ],
)
def test_other_inputs_are_refused_by_name_and_change_nothing(change, named, images, labels, linear, kept) -> None:
    folder, run = kept
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=f"expected no evaluation, or one of the same.*with other {named}"):
        run(**change(images, labels, linear))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_inputs_replace_the_earlier_ones_where_that_is_asked_for(linear, images, labels, tmp_path) -> None:
    options = {"battery": BATTERY, "folder": tmp_path, "check_strength": False}
    evaluate({"a": linear[0], "b": linear[1]}, images, labels, **options)
    report = evaluate({"c/d": linear[1]}, images, labels, overwrite=True, **options)
    assert report == evaluate({"c/d": linear[1]}, images, labels, **{**options, "folder": None})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"inputs.json", "outcomes.npz", "examples-00-c_d.npz", "report.json"}
    assert [saved.model for saved in load_examples(tmp_path)] == ["c/d"]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_results_of_unknown_inputs_are_never_gone_on_with(damage, interrupted, tmp_path) -> None:
    damage(tmp_path / "kept" / "inputs.json")
    with pytest.raises(InputError, match="expected no evaluation, or one of the same inputs. Received: one with other"):
        interrupted()
    Failing.seen.clear()
    interrupted(overwrite=True)
    assert Failing.seen == set(range(50))


def test_a_damaged_part_is_refused_by_its_name(interrupted, tmp_path) -> None:
    path = tmp_path / "kept" / "part-0001.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="part-0001.npz: expected a whole part.*Remove it"):
        interrupted()
    path.unlink()
    assert interrupted() == interrupted(folder=None)


def test_nothing_is_kept_without_a_folder(linear, images, labels, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate({"m": linear[0]}, images, labels, battery=BATTERY, check_strength=False)
    assert not list(tmp_path.iterdir())


CHILD = textwrap.dedent(
    """
    import sys
    import numpy as np
    import tensorflow as tf
    from tf_laq.attacks import PGD, Battery, Column, Square, UniformNoise
    from tf_laq.evaluation import evaluate

    def model(seed):
        weights = tf.constant(np.random.default_rng(seed).normal(size=(36, 5)), tf.float32)
        return lambda images: tf.matmul(tf.reshape(images, [-1, 36]) - 0.5, weights)

    images = np.random.default_rng(9).random((2000, 6, 6, 1)).astype(np.float32)
    first, second = model(1), model(2)
    labels = np.argmax(first(images), axis=1)
    pgd = PGD(epsilon=0.05, steps=3)
    columns = (
        Column(name="noise", attacks={"none": UniformNoise(epsilon=0.05)}),
        Column(name="pgd", attacks={"gray": pgd, "white": pgd}),
        Column(name="square", attacks={"white": Square(epsilon=0.05, queries=10)}),
    )
    report = evaluate(
        {"first": first, "second": second}, images, labels, battery=Battery(name="x", columns=columns),
        surrogates={"second": second}, part_size=80, check_strength=False, folder=sys.argv[1] or None,
    )
    report.save(sys.argv[2])
    """
)


@pytest.mark.slow
def test_an_evaluation_that_is_killed_goes_on_and_finds_what_one_run_finds(tmp_path, request, monkeypatch) -> None:
    """2,000 images in 25 parts: the process is killed at a random moment."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(request.config.rootpath)}
    folder = tmp_path / "kept"

    def child():
        arguments = [sys.executable, script, folder, tmp_path / "report.json"]
        return subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)

    def parts():
        return len(list(folder.glob("part-*.npz")))

    enough = random.randrange(1, 20)
    process = child()
    while process.poll() is None and parts() < enough:
        time.sleep(0.002)
    time.sleep(random.uniform(0.0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert enough <= parts() <= 25
    assert not (tmp_path / "report.json").exists()
    assert child().wait() == 0
    monkeypatch.setattr(sys, "argv", [str(script), "", str(tmp_path / "whole.json")])
    runpy.run_path(str(script))
    assert RobustnessReport.load(tmp_path / "report.json") == RobustnessReport.load(tmp_path / "whole.json")
    assert not list(folder.glob(".writing-*"))
    assert [len(saved.labels) for saved in load_examples(folder)] == [2000, 2000]
