"""The README's program, as it stands, on a model of one's own."""

import re
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tf_keras

import tf_laq as laq

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("keras", [tf_keras, keras3], ids=["Keras 2", "Keras 3"])
def test_the_readmes_program_runs_on_a_model_of_ones_own(keras, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    statements = [line for line in program.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(statements) <= 8
    keras.utils.set_random_seed(0)
    layers = keras.layers
    hidden = [layers.Conv2D(4, 3, activation="relu"), layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *hidden, layers.Dense(3)])
    images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    # All classes come out about alike, so that attacks find what they look for at once.
    model.layers[-1].bias.assign(-np.mean(model(images), axis=0))
    labels = np.argmax(model(images), axis=1)
    exec(program, {"model": model, "images": images, "labels": labels})
    output = capsys.readouterr().out
    assert re.search(r"worst case.*\n.*\nfloat .*\nsmall ", output)
    assert laq.tflite.load("model.tflite")(images).shape == (5, 3)
