"""A command that is killed and run again leaves what it would have left at once, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tf_laq.cli.commands import COMMANDS

# What each command is told, and the files that it needs. Models are digits_cnn of width 2 in either Keras.
RUNS = {
    "quantize": (
        "f.keras --policy uniform --quantizers linear --bits 4 --out out/q.keras",
        "f.keras",
    ),
    "finetune": (
        "f.keras q.plan.json --data digits.npz --epsilon 0.1 --epochs 1 --out out/t.keras",
        "f.keras q.plan.json digits.npz",
    ),
    "match": (
        "q.keras f.keras --data digits.npz --epsilon 0.1 --images 8 --out out/m.keras",
        "f.keras q.keras digits.npz",
    ),
    "correct": (
        "q.keras f.keras --data digits.npz --images 8 --out out/c.keras",
        "f.keras q.keras digits.npz",
    ),
    "recalibrate": (
        "n.keras --data digits.npz --images 8 --out out/r.keras",
        "n.keras digits.npz",
    ),
    "train": (
        "--data digits.npz --model f.keras --recipe plain --epochs 2 --out out/m.keras",
        "f.keras digits.npz",
    ),
    "compress": (
        "d.keras --data test.npz --epsilon 0.1 --preset quick --examples 4 --out out --max_loss 100",
        "d.keras test.npz",
    ),
    "export": (
        "q.keras --path out/m.tflite --compress gz",
        "q.keras",
    ),
    "evaluate": (
        "q.keras --data digits.npz --epsilon 0.1 --attacks uniform --examples 4 --batch_size 2 --out out",
        "q.keras digits.npz",
    ),
    "pictures": (
        "examples --count 2 --out out/p.png",
        "examples",
    ),
    "curve": (
        "q.keras --data digits.npz --attack fgsm --epsilons 0.1,0.2 --examples 4 --out out",
        "q.keras digits.npz",
    ),
    "report": (
        "compressed",
        "compressed",
    ),
}
# Commands that write a Keras model do so in both versions.
WRITE_MODELS = ("quantize", "finetune", "match", "correct", "recalibrate", "train", "compress")
CASES = [(name, keras) for name in RUNS for keras in ((2, 3) if name in WRITE_MODELS else (2,))]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def serve():
    """Run the commands that standard input names, each in a fork: importing TensorFlow is what takes long.

    Nothing is computed before the fork, since threads do not survive it.
    """
    import keras  # noqa: F401
    import tf_keras  # noqa: F401

    from tf_laq import compression, evaluation, report, tflite, training  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                code = run(*json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(folder, arguments, last):
    """Run a command in a folder, and die before its files are changed for the last of a number of times.

    At its end, it tells the kind of each change: what was done, and by which line of the package. Where the change is
    seen outside of the temporary folders of unfinished files, the line that asked for it is told too.
    """
    from tf_laq.cli import main as command_line

    package = str(Path(command_line.__file__).parents[1])
    os.chdir(folder)
    log = os.open("../log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 2)
    changes = []

    def watch(event, arguments):
        if event not in {"open", *CHANGES} or isinstance(arguments[0], int):  # The number of a file that is open.
            return
        writes = event == "open" and (
            bool({*"wax+"} & {*arguments[1]})
            if isinstance(arguments[1], str)
            else arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        # Folders are removed from within, by names relative to them.
        within = event in CHANGES and arguments[-1] >= 0
        place = Path(f"/proc/self/fd/{arguments[-1]}").readlink() if within else folder
        paths = [Path(place, os.fsdecode(each)) for each in arguments[: 2 if event == "os.rename" else 1]]
        if event == "os.mkdir" and paths[0].exists():  # Asked for in any case, and nothing is changed.
            return
        if (writes or event in CHANGES) and Path(folder) in paths[0].parents:
            lines = [f"{frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_stack(None)]
            lines = [line for line in lines if line.startswith(package)]
            seen = [path for path in paths if ".writing-" not in str(path)]
            asking = [line for line in lines if "_internal" not in line][:1] if seen else []
            changes.append([event, *lines[:1], *asking])
            if len(changes) == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    with contextlib.redirect_stdout(io.StringIO()):
        code = command_line.main(arguments)
    Path("../changes").write_text(json.dumps(changes))
    return code


class Commands:
    """Commands in a process of their own, one after the other."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", "from tests.cli.test_killed import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __call__(self, *arguments, last=0, folder=None):
        """Return the exit code, which is negative after a signal, and what was printed as errors."""
        place = folder or self.folder / "files"
        self.process.stdin.write(json.dumps([str(place), arguments, last]) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return code, (place.parent / "log").read_text()

    def changes(self):
        return json.loads((self.folder / "changes").read_text())


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("commands"))
    with commands.process:
        yield commands


@pytest.fixture(scope="module")
def needed(commands, tmp_path_factory):
    """Return a function that makes what a command needs, once, and copies it to the folder of the commands."""
    made = tmp_path_factory.mktemp("made")

    def make(name, keras):
        import keras as keras3
        import tf_keras

        from tf_laq import datasets, models, save_model

        library = {2: tf_keras, 3: keras3}[keras]
        folder = made / str(keras) / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if path.exists():
            return path
        test = datasets.load("digits").test
        if name == "digits.npz":
            np.savez(path, images=test.images[:64], labels=test.labels[:64])
        elif name == "test.npz":
            # Without training images a compression has fewer candidates, which are written in the same way.
            np.savez(path, test_images=test.images[:64], test_labels=test.labels[:64])
        elif name == "f.keras":
            save_model(models.build("digits_cnn", seed=5, width=2, keras=keras), path)
        elif name == "d.keras":
            layers = library.layers
            save_model(library.Sequential([library.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)]), path)
        elif name == "n.keras":
            layers = library.layers
            normal = [layers.Flatten(), layers.Dense(4), layers.BatchNormalization(), layers.Dense(10)]
            save_model(library.Sequential([library.Input((8, 8, 1)), *normal]), path)
        else:
            command = {"q.keras": "quantize", "q.plan.json": "quantize", "examples": "evaluate"}.get(name, "compress")
            for other in RUNS[command][1].split():
                make(other, keras)
            code, errors = commands(command, *RUNS[command][0].split(), folder=folder)
            assert code == 0, errors
            if command == "quantize":
                for file in (folder / "out").iterdir():
                    file.rename(folder / file.name)
            else:
                (folder / "out" / ("examples" if command == "evaluate" else "")).rename(path)
            shutil.rmtree(folder / "out", ignore_errors=True)
        return path

    def copy(command, keras):
        place = commands.folder / "files"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name in RUNS[command][1].split():
            path = make(name, keras)
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, place / name)

    return copy


def content(path):
    """Return what a file says. An archive has the time at which it was made, and Keras notes it too."""
    if path.name.endswith(".training.json"):  # It has the checksum of such an archive, and one of itself.
        return {
            name: value for name, value in json.loads(path.read_text()).items() if name not in ("sha256", "checksum")
        }
    if path.name.endswith(".log.csv"):
        return np.genfromtxt(path, delimiter=",", skip_header=1)
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}
    return {name: arrays(data) if name.endswith(".h5") else data for name, data in members.items()}


def arrays(data):
    """Return the arrays of an HDF5 file by their names."""
    found = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def same(found, expected):
    """Compare contents. From process to process TensorFlow may round numbers in another way."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, np.ndarray):
        return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=1e-4)
    return found == expected


def everything(folder):
    return {
        str(path.relative_to(folder)): None if path.is_dir() else content(path) for path in sorted(folder.rglob("*"))
    }


def kinds(changes):
    """Return the number of one change of each kind, by chance, and of the last one.

    These are enough of the hundred changes of an evaluation and the thousand of a compression: candidates and parts
    are all written by the same lines, and what happens in the temporary folder of an unfinished file is the same for
    every file, as the next run does nothing but remove it.
    """
    alike = {}
    for number, change in enumerate(changes, 1):
        alike.setdefault(tuple(change), []).append(number)
    chance = random.Random(0)
    return sorted({*map(chance.choice, alike.values()), len(changes)})


def check(commands, needed, command, keras, choose=kinds):
    """Kill a command at some of its changes of files, and compare with what it leaves undisturbed."""
    arguments = (command, *RUNS[command][0].split())
    needed(command, keras)
    code, errors = commands(*arguments)
    assert code == 0, errors
    expected, changes = everything(commands.folder / "files"), commands.changes()
    assert not [name for name in expected if "/." in f"/{name}"]
    for last in choose(changes):
        place = f"killed at change {last} of {len(changes)}: {changes[last - 1]}"
        needed(command, keras)
        assert commands(*arguments, last=last)[0] == -signal.SIGKILL
        code, errors = commands(*arguments)
        # Killed at its very end, a command has done all, and no second run replaces its files unasked.
        assert code == 0 or "which is there" in errors, (place, errors)
        found = everything(commands.folder / "files")
        assert sorted(found) == sorted(expected), place
        differing = [name for name in found if not same(found[name], expected[name])]
        assert not differing, place


def test_every_command_that_writes_is_killed():
    # A demo is a training and a compression.
    assert {*RUNS, "demo", "inspect"} == {*COMMANDS}


def test_a_model_and_its_plan_are_there_together_after_a_kill(commands, needed):
    check(commands, needed, "quantize", 2, lambda changes: random.Random(0).sample(kinds(changes), 2))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "keras"), CASES)
def test_a_command_that_is_killed_leaves_what_it_would_have_left(command, keras, commands, needed):
    check(commands, needed, command, keras)
