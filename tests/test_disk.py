"""Disks that are full: one error that says where, nothing half-written, and what was there before as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tf_laq._internal import files
from tf_laq.errors import InputError

# Writes with a limit on the size of files, which every library meets in the middle of its writing.
LIMITED = """
import resource, signal, sys
import numpy as np
import {keras} as keras
import tf_laq as laq
from tf_laq import attacks, evaluation
from tf_laq._internal import archives
from tf_laq.errors import InputError
model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(200, name="dense")])
plan = laq.uniform(model, "linear", 8, progress=False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
writers = {{
    "m.keras": lambda path: laq.save_model(model, path),
    "m.h5": lambda path: laq.save_model(model, path),
    "m.tflite": lambda path: laq.export_tflite(model, path, plan=plan),
    "a.npz": lambda path: archives.write(path, {{"a": np.ones((200, 200))}}),
    "plan.json": plan.save,
    {saved_model}
}}
for name, write in writers.items():
    for size in (0, 300, 9_000):
        limit(size)
        try:
            write(name)
        except InputError as error:
            print(name, size, str(error).splitlines())
        except BaseException as error:
            print(name, size, "RAW", type(error), error)
        else:
            print(name, size, "written")
        limit(resource.RLIM_INFINITY)
"""
MODEL = """
import keras
import numpy as np
import tf_laq as laq
images = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
np.savez("test.npz", test_images=images, test_labels=np.arange(20) % 10)
laq.save_model(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]), "m.keras")
"""
COMPRESS = """
import resource, signal, sys
from tf_laq.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main("compress m.keras --data test.npz --epsilon 0.1 --preset quick --examples 4 --max_loss 100".split()))
"""
HOLD = """
import sys, time
from tf_laq._internal import files
with files.replacing(sys.argv[1]) as temporary:
    temporary.write_text("new")
    print("begun", flush=True)
    time.sleep(600)
"""


def python(program, *arguments, cwd, **variables):
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize(
    ("keras", "saved_model"),
    [
        pytest.param("keras", "", marks=pytest.mark.slow),
        ("tf_keras", '"saved": lambda path: laq.save_model(model, path),'),
    ],
    ids=["Keras 3", "Keras 2"],
)
def test_what_does_not_fit_onto_the_disk_ends_in_one_error_and_leaves_nothing(keras, saved_model, tmp_path):
    names = ["m.keras", "m.h5", "m.tflite", "a.npz", "plan.json"]
    for name in names:
        (tmp_path / name).write_text("before")
    done = python(LIMITED.format(keras=keras, saved_model=saved_model), cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 3 * (5 + bool(saved_model)), done.stderr
    for line in lines:
        expected = f"['path: expected enough space for the file. Received: {line.split()[0]} ("
        fits = line == "plan.json 9000 written"
        assert fits or expected in line, line
        assert fits or "Make space" in line
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    assert {(tmp_path / name).read_text() for name in names if name != "plan.json"} == {"before"}


@pytest.mark.slow
def test_a_compression_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_space(tmp_path):
    results, temporary = tmp_path / "compressed", tmp_path / "temporary"
    temporary.mkdir()
    assert python(MODEL, cwd=tmp_path).returncode == 0

    def compress(limit):
        done = python(COMPRESS, limit, cwd=tmp_path, TMPDIR=str(temporary))
        assert not list(results.rglob(".*"))
        there = sorted(path.name for path in results.iterdir())
        return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("error: ")], there

    # The first file of all, one in the middle of the attacks, the results, and the page.
    places = {500: "inputs.json", 5_000: "part-0000.npz", 30_000: "compression.json", 60_000: "report.html"}
    for limit, place in places.items():
        code, errors, there = compress(limit)
        assert (code, len(errors), there) == (2, 1, ["work"])
        assert f"{place} (File too large). Make space" in errors[0]
    assert compress(-1) == (0, [], ["compression.json", "recommended", "report.html", "work"])


def test_what_a_killed_run_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "begun\n"
        (held,) = tmp_path.glob(".writing-*")
        files.write_text(tmp_path / "b", "other")
        assert (held / "new" / "a").read_text() == "new"
        run.send_signal(signal.SIGKILL)
    files.write_text(tmp_path / "b", "other")
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_was_set_aside_by_a_killed_run_comes_back(tmp_path):
    left = tmp_path / ".writing-killed"
    (left / "old" / "results").mkdir(parents=True)
    (left / "old" / "results" / "kept").write_text("before")
    (left / "lock").touch()
    files.write_text(tmp_path / "b", "other")
    assert (tmp_path / "results" / "kept").read_text() == "before"
    assert not left.exists()


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "a"):
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a"):
        Path(tmp_path / "none").read_text()
    full = pytest.raises(InputError, match=r"enough space for the file\. Received: .*/a \(No space left on device\)")
    with full, files.replacing(tmp_path / "a"):
        raise OSError(28, os.strerror(28))
    assert not list(tmp_path.iterdir())
