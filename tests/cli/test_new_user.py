"""The way of the guide, from a network and data of one's own to a file that runs: its commands, on small data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq.compression import Compression

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "own_data.md"
# What makes the commands on photos quick.
QUICK = {"train": ["--epochs", "1"], "compress": ["--examples", "32", "--preset", "quick"]}


def steps(page: str) -> list[tuple[str, str]]:
    """Return the steps of the guide's example: ("python", code), ("laq", arguments) and ("text", output)."""
    page = page[page.index("## From a network") :].replace(" \\\n", " ")
    found = re.findall(r"^```(python|text)\n(.*?)^```$|^    laq ([^\n]*)$", page, flags=re.MULTILINE | re.DOTALL)
    return [(kind or "laq", block or command) for kind, block, command in found]


def beginnings(text: str) -> list[str]:
    """Return the first word of each line that has a capital: others are figures, names of candidates, or wrapped."""
    return re.findall(r"^[A-Z][A-Za-z]*", text, flags=re.MULTILINE)


def is_within(part: list[str], whole: list[str]) -> bool:
    """Return whether all of a part comes in the whole, in this order."""
    left = iter(whole)
    return all(word in left for word in part)


def beside_progress(errors: str) -> list[str]:
    """Return the lines of the error stream but for those of progress, which a slow machine gets once a minute."""
    return [line for line in errors.splitlines() if line.strip() and not re.search(r"\d+%\|.*\|", line)]


@pytest.mark.slow
def test_the_guides_example_runs_as_it_stands_and_prints_what_it_says(tmp_path, monkeypatch, capsys, laq_command):
    monkeypatch.chdir(tmp_path)
    page, output = GUIDE.read_text(encoding="utf-8"), ""
    for kind, text in steps(page[: page.index("A folder of photos")]):
        if kind == "text":
            assert is_within(beginnings(text), beginnings(output)), (text, output)
        elif kind == "python":
            exec(text, {})
            if "print" in text:
                assert capsys.readouterr().out.strip() in text
        else:
            code, output, errors = laq_command(*shlex.split(text))
            assert (code, beside_progress(errors)) == (0, []), text
    result = Compression.load("compressed/compression.json")
    assert result.file_check.same == result.file_check.count == 359
    assert result.recommendation.keeps_rule
    assert Path("compressed/report.html").stat().st_size > 10_000


@pytest.fixture
def digits():
    test = laq.datasets.load("digits").test
    return np.rint(test.images[:300] * 255).astype(np.uint8), test.labels[:300]


@pytest.mark.slow
def test_a_mobilenet_of_keras_2_goes_from_a_folder_of_images_to_a_file(tmp_path, monkeypatch, digits, laq_command):
    monkeypatch.chdir(tmp_path)
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        path = Path("photos", f"class{label}", f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.repeat(image, 3, axis=2)).numpy())
    page = GUIDE.read_text(encoding="utf-8")
    photos = page[page.index("A folder of photos") :]
    code = re.search(r"^```python\n(.*?)^```$", photos, flags=re.MULTILINE | re.DOTALL)[1]
    exec(code.replace("= 0.9", "= 0.5"), {})  # It is trained for one epoch.
    for command in re.findall(r"^    laq (.*)$", photos[: photos.index("`laq train` goes on")], flags=re.MULTILINE):
        name, *arguments = shlex.split(re.sub(r"--(epochs|examples) \d+", "", command))
        code, output, errors = laq_command(name, *arguments, *QUICK[name])
        assert (code, beside_progress(errors)) == (0, []), name
        assert output
    assert "statistics matched on" in Compression.load("phone/compression.json").model("guarded").steps[-1]
    file = laq.tflite.load("phone/recommended/model.tflite")
    assert file(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 10)
