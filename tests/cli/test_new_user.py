"""The way of the guide, from a network and data of one's own to a file that runs: its commands, on small data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.compression import Compression

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
# The guide's commands as they stand, but for what makes them quick.
QUICK = {
    "train": ["--epochs", "1"],
    "compress": ["--examples", "32", "--preset", "quick"],
    "evaluate": ["--examples", "16"],
}


def commands(page: str) -> list[list[str]]:
    """Return the commands of a page of the guide, in order."""
    text = (GUIDE / page).read_text(encoding="utf-8").replace(" \\\n", " ")
    return [shlex.split(line, comments=True) for line in re.findall(r"^    laq (.*)$", text, flags=re.MULTILINE)]


@pytest.fixture
def digits():
    test = laq.datasets.load("digits").test
    return np.rint(test.images[:300] * 255).astype(np.uint8), test.labels[:300]


@pytest.mark.slow
def test_the_guides_commands_run_on_an_archive_with_a_network_of_keras_3(tmp_path, monkeypatch, digits, laq_command):
    monkeypatch.chdir(tmp_path)
    np.savez("pets.npz", images=digits[0], labels=digits[1])
    layers = keras3.layers
    hidden = [layers.Conv2D(8, 3, activation="relu"), layers.Flatten()]
    keras3.Sequential([keras3.Input((8, 8, 1)), *hidden, layers.Dense(10)]).save("cnn.keras")
    for name, *arguments in commands("own_data.md"):
        code, output, errors = laq_command(name, *arguments, *QUICK.get(name, []))
        assert (code, errors) == (0, ""), (name, errors)
        assert output
    result = Compression.load("compressed/compression.json")
    file = laq.tflite.load("compressed/recommended/model.tflite")
    assert file(digits[0][:5] / np.float32(255)).shape == (5, 10)
    assert result.file_check.same == result.file_check.count == 32
    assert Path("compressed/report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_mobilenet_of_keras_2_goes_from_a_folder_of_images_to_a_file(tmp_path, monkeypatch, digits, laq_command):
    monkeypatch.chdir(tmp_path)
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        path = Path("photos", f"class{label}", f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.repeat(image, 3, axis=2)).numpy())
    settings = {"alpha": 0.35, "weights": None, "classes": 10, "classifier_activation": None}
    tf_keras.applications.MobileNetV2(input_shape=(32, 32, 3), **settings).save("mobile.keras")
    data = ["--data", "photos", "--size", "32", "--epsilon", "8/255"]
    for name, *arguments in (
        ["train", *data, "--model", "mobile.keras", "--out", "adv.keras"],
        ["compress", "adv.keras", *data, "--out", "compressed"],
    ):
        code, output, errors = laq_command(name, *arguments, *QUICK[name])
        assert (code, errors) == (0, ""), (name, errors)
        assert output
    assert "statistics matched on" in Compression.load("compressed/compression.json").model("guarded").steps[-1]
    file = laq.tflite.load("compressed/recommended/model.tflite")
    assert file(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 10)
