"""The memory of an evaluation is that of a part, and its bar tells how it goes."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import re
import struct
import tempfile
import termios
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from tf_laq._internal import progress
from tf_laq._internal.progress import progress_bar
from tf_laq.attacks import FGSM, Battery, Column, UniformNoise
from tf_laq.evaluation import evaluate

BATTERY = Battery(
    name="x",
    columns=(
        Column(name="noise", attacks={"none": UniformNoise(epsilon=0.1)}),
        Column(name="fgsm", attacks={"gray": FGSM(epsilon=0.05), "white": FGSM(epsilon=0.05)}),
    ),
)


def dark_and_light(images):
    light = tf.reduce_mean(images, [1, 2, 3]) - 0.5
    return tf.stack([-light, light], 1)


@pytest.mark.parametrize("kept", [False, True])
def test_more_images_take_no_more_memory(kept, tmp_path) -> None:
    def peak(count):
        images = np.random.default_rng(0).random((count, 32, 32, 1)).astype(np.float32)
        folder = tempfile.mkdtemp(dir=tmp_path) if kept else None
        tracemalloc.start()
        evaluate(
            {"m": dark_and_light}, images, np.zeros(count, int), battery=BATTERY,
            part_size=25, folder=folder, check_strength=False,
        )  # fmt: skip
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(150)  # TensorFlow keeps its graphs, and the checks look at 128 images.
    assert peak(950) - peak(150) < 0.2 * (950 - 150) * 32 * 32 * 4


def test_the_bar_shows_the_worst_case_so_far(linear, images, labels, monkeypatch) -> None:
    reader, writer = os.openpty()
    with os.fdopen(reader, "rb", closefd=True) as shown, os.fdopen(writer, "w") as terminal:
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        monkeypatch.setattr("sys.stderr", terminal)
        report = evaluate({"m": linear[0]}, images, labels, battery=BATTERY, part_size=30, check_strength=False)
        terminal.flush()
        text = os.read(shown.fileno(), 100_000).decode()
    worst = re.findall(r"worst case m ([\d.]+) %", text)
    assert worst[-1] == f"{100 * report.worst_case('m').value:.1f}"
    assert float(worst[0]) >= float(worst[-1])
    assert "m: fgsm" in text


def test_an_evaluation_ends_where_enough_is_known_and_goes_on_from_there(linear, images, labels, tmp_path) -> None:
    options = {"battery": BATTERY, "part_size": 10, "check_strength": False, "folder": tmp_path / "kept"}
    whole = evaluate({"m": linear[0]}, images, labels, **{**options, "folder": None})
    seen = []

    def enough(surviving):
        seen.append(surviving["m"])
        return len(surviving["m"]) >= 20

    for _ in range(2):
        part = evaluate({"m": linear[0]}, images, labels, until=enough, **options)
        assert (part.count, part.checks) == (20, ())
        assert (part.surviving("m") == whole.surviving("m")[:20]).all()
    assert [len(surviving) for surviving in seen] == [10, 20, 10, 20]
    assert (seen[1] == part.surviving("m")).all()
    assert [path.name for path in (tmp_path / "kept").glob("part-*")] == ["part-0000.npz", "part-0001.npz"]
    assert evaluate({"m": linear[0]}, images, labels, until=lambda surviving: False, **options) == whole


def test_in_a_pipe_a_bar_is_a_line_now_and_then(monkeypatch) -> None:
    written, clock = io.StringIO(), itertools.count(step=25)
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    for _ in progress_bar(range(20), shown=True, desc="work", mininterval=0, miniters=1):
        pass
    lines = written.getvalue().splitlines()
    assert 3 <= len(lines) <= 8
    assert all(re.match(r"work: +\d+%", line) for line in lines)
    assert "\r" not in written.getvalue()
