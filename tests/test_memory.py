"""Reading a file takes at most twice the memory of what it holds."""

from __future__ import annotations

import functools
import gc
import gzip
import lzma
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import datasets, tflite
from tf_laq._internal import archives
from tf_laq._internal.unreadable import Remedies, check_content
from tf_laq.adapters.dispatch import keras_module
from tf_laq.adapters.screening import screen
from tf_laq.attacks import Battery
from tf_laq.evaluation import AdversarialExamples, RobustnessReport
from tf_laq.evaluation.outcomes import Outcome
from tf_laq.plan import PlanEntry, QuantizationPlan

COUNT, SIDE = 4096, 64
REST = 2**23
"""What a reader takes whatever the size of a file."""

REFRESH = Path("/proc/self/clear_refs")


def images(count):
    return np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE, 1).repeat(count, axis=0)


def save_images(path, count, save=np.savez, scale=None):
    values = images(count) if scale is None else (images(count) * scale).astype(np.uint8)
    save(path, images=values, labels=np.arange(count) % 2)


def save_examples(path, count):
    text, numbers = np.full(count, "clean"), np.arange(count) % 2
    AdversarialExamples(
        model="m",
        sha256="",
        seed=0,
        battery=Battery.preset("digits").only(["clean"]),
        images=images(count),
        clean=images(count),
        labels=numbers,
        indices=numbers,
        margins=np.ones(count, np.float32),
        predicted=numbers,
        clean_predicted=numbers,
        columns=text,
        knowledge=text,
    ).save(path)


def read_arrays(path):
    with archives.opened_whole(path, "arrays", "Make them again.") as content:
        return [content[name] for name in content]


def save_file(path, count, pack=bytes):
    import keras

    width = max(count // 2, 8)
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width)])
    laq.export_tflite(model, path.with_suffix(""), "float32")
    path.write_bytes(pack(path.with_suffix("").read_bytes()))


def pack_xz(content):
    return lzma.compress(content, preset=0)


def save_model(path, count):
    import tf_keras

    width = max(count // 2, 8)
    laq.save_model(tf_keras.Sequential([tf_keras.Input((width,)), tf_keras.layers.Dense(width)]), path)


def look_at(path):
    check_content(path)
    screen(path, keras_module(2), {}, Remedies("", ""))


def save_plan(path, count):
    entry = PlanEntry("conv1", "kernel", (3, 3, 1, 5), "linear", 3, 2.0, 2.1, 0.25, 0.2, True, "passes")
    QuantizationPlan(policy="by hand", norm="spectral", entries=(entry,) * (4 * count), left_alone=()).save(path)


def save_report(path, count):
    outcome = Outcome.record(np.ones(1000 * count, bool), model="m", column="clean", knowledge="none")
    battery = Battery.preset("digits").only(["clean"])
    RobustnessReport(
        models=("m",), surrogates=(), battery=battery, count=1000 * count, seed=0, outcomes=(outcome,) * 20
    ).save(path)


CONTENT = 4 * COUNT * SIDE * SIDE
SMALL = 20
# How a file is written with so many rows, how it is read, and the bytes of what it holds, where that is not its size.
FILES = {
    "numbers.npz": (save_images, datasets.load, CONTENT),
    "bytes.npz": (functools.partial(save_images, scale=255), datasets.load, CONTENT),
    "compressed.npz": (functools.partial(save_images, save=np.savez_compressed), datasets.load, CONTENT),
    "arrays.npz": (lambda path, count: archives.write(path, {"0": images(count)}), read_arrays, CONTENT),
    "examples.npz": (save_examples, AdversarialExamples.load, 2 * CONTENT),
    "run.tflite": (save_file, tflite.load, None),
    "inspected.tflite": (save_file, tflite.inspect, None),
    "m.tflite.gz": (functools.partial(save_file, pack=gzip.compress), tflite.load, CONTENT // 4),
    "m.tflite.xz": (functools.partial(save_file, pack=pack_xz), tflite.load, CONTENT // 4),
    "m.keras": (save_model, look_at, None),
    "m.h5": (save_model, look_at, None),
}
DOCUMENTS = {
    "plan.json": (save_plan, QuantizationPlan.load, None),
    "report.json": (save_report, RobustnessReport.load, None),
}


def kilobytes(field):
    return int(re.search(rf"^{field}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def measure(name, small, large):
    """Print by how many bytes reading a large file raises the peak of this process, which has read a small one."""
    read = {**FILES, **DOCUMENTS}[name][1]
    read(Path(small))
    gc.collect()
    before = kilobytes("VmRSS")
    REFRESH.write_text("5")
    kept = read(Path(large))
    print(1024 * (kilobytes("VmHWM") - before))
    del kept


def added(name, folder):
    """Return the bytes that reading a file takes, and those of what it holds."""
    save, _, content = {**FILES, **DOCUMENTS}[name]
    small, large = (folder / size / name for size in ("small", "large"))
    for path, count in ((small, SMALL), (large, COUNT)):
        path.parent.mkdir()
        save(path, count)
    program = f"from tests.test_memory import measure; measure({name!r}, {str(small)!r}, {str(large)!r})"
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]), content or large.stat().st_size


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REFRESH.exists(), reason="the system does not tell the peak of a process"),
]


@pytest.mark.parametrize("name", FILES)
def test_reading_a_file_takes_at_most_twice_what_it_holds(name, tmp_path):
    taken, content = added(name, tmp_path)
    assert taken <= 2 * content + REST


@pytest.mark.parametrize("name", DOCUMENTS)
def test_reading_a_document_takes_at_most_what_counts_against_the_limit(name, tmp_path):
    taken, size = added(name, tmp_path)
    # Of the objects that Python makes of a text, an empty list takes 56 bytes.
    assert taken <= 20 * size
