"""A training that is killed ends, when it is run again, with what it would have ended with, and leaves nothing else."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tf_laq import datasets
from tf_laq._internal import files
from tf_laq.adapters import keras_module
from tf_laq.errors import InputError
from tf_laq.training import recipe, trained_model
from tf_laq.training.checkpoints import Checkpoint

KERAS = [2, 3]
# Trains, and kills itself before it changes the files of a folder for the last of a number of times.
TRAIN = """
import os, signal, sys
from tests.training.test_killed import train
path, keras, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
count = 0
def watch(event, arguments):
    global count
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
    changes |= event == "open" and isinstance(arguments[1], str) and bool({*"wax+"} & {*arguments[1]})
    if changes and os.path.dirname(path) in str(arguments[0]):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
train(path, keras)
print(count)
"""

# Writes a file for as long as it lives.
HOLD = """
import sys, time
from tf_laq._internal import files
with files.locked(sys.argv[1]):
    print("begun", flush=True)
    time.sleep(600)
"""


def train(path, keras):
    digits = datasets.load("digits")
    few = dataclasses.replace(digits, train=datasets.Split(digits.train.images[:128], digits.train.labels[:128]))
    short = dataclasses.replace(recipe("digits", "plain"), epochs=3, model_options={"width": 2})
    return trained_model(few, short, path, keras=keras, announce=lambda line: None, progress=False)


def in_a_process(path, keras, last):
    """Train in a process of its own; it dies at a change of files, or at none if that is 0."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAIN, str(path), str(keras), str(last)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture(scope="module", params=KERAS)
def undisturbed(request, tmp_path_factory):
    """Return a version of Keras, the weights, the log and how often files change."""
    path = tmp_path_factory.mktemp("undisturbed") / "m.keras"
    done = in_a_process(path, request.param, 0)
    assert done.returncode == 0, done.stderr
    weights = train(path, request.param).get_weights()  # The one that is there.
    log = path.with_suffix(".log.csv")
    return request.param, weights, log, int(done.stdout.split()[-1])


# The state of an epoch is renewed in the middle; at the end the result is written and the checkpoint removed.
@pytest.mark.parametrize(
    "part", [0.5, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0))]
)
def test_a_training_that_is_killed_ends_as_if_it_were_not(undisturbed, part, tmp_path):
    keras, weights, log, count = undisturbed
    done = in_a_process(tmp_path / "m.keras", keras, max(1, round(part * count)))
    assert done.returncode == -signal.SIGKILL, done.stderr
    for found, expected in zip(train(tmp_path / "m.keras", keras).get_weights(), weights, strict=True):
        # In a process of its own TensorFlow may round in another way; an epoch moves weights far more.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    found, expected = (np.genfromtxt(file, delimiter=",") for file in (tmp_path / "m.log.csv", log))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    left = sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith("."))  # Half of a file, a lock.
    assert left == ["m.keras", "m.log.csv", "m.training.json"]


def test_a_place_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "m.keras").mkdir()
    for path, reason in {
        "file/m.keras": "a place that can be written",
        "m.keras": "a file. Received: the folder",
        "m.txt": r"ends in \.keras or \.h5",
    }.items():
        with pytest.raises(InputError, match=reason):
            train(tmp_path / path, 2)


def test_a_second_run_on_the_same_file_is_refused_until_the_first_is_dead(tmp_path):
    path = tmp_path / "m.keras"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "begun\n"
        with pytest.raises(InputError, match=r"m\.keras, which another run is writing\. Wait until it ends"):
            train(path, 2)
        run.kill()
    with files.locked(path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keras", KERAS)
def test_a_damaged_checkpoint_and_that_of_another_training_are_refused_by_name(keras, tmp_path):
    k = keras_module(keras)

    def compiled(units):
        model = k.Sequential([k.Input((3,)), k.layers.Dense(units)])
        model.compile("adam", "mse")
        return model

    def checkpoint(model, training="mine", outputs=((0.5, 0.25),)):
        return Checkpoint(tmp_path, model, training, outputs)

    model = compiled(2)
    assert checkpoint(model).restore() == 0
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    checkpoint(model).save(7)
    twin = compiled(2)
    assert checkpoint(twin).restore() == 7
    for found, expected in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for other in ({"training": "other"}, {"outputs": ((0.5, 0.3),)}, {"outputs": ((0.5,),)}):
        with pytest.raises(InputError, match=r"state\.npz.*that of another\. Remove it to train from the start"):
            checkpoint(compiled(2), **other).restore()
    content = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"state\.npz.*Remove it to train from the start"):
        checkpoint(compiled(2)).restore()
