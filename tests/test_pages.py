"""The programs on the pages of the guide, as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest

import tf_laq as laq

GUIDE = Path(__file__).parents[1] / "docs" / "guide"


def program(page):
    return re.search(r"```python\n(.*?)```", (GUIDE / page).read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(path):
    import keras

    path.parent.mkdir(parents=True, exist_ok=True)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    laq.export_tflite(laq.bake(model, laq.search(model, progress=False)), path)
    return model


def test_the_runtime_alone_runs_a_file(folder, capsys):
    model = exported(folder / "model.tflite")
    exec(program("deployment.md"), {})
    assert capsys.readouterr().out.strip() == str(np.argmax(model(np.zeros((1, 8, 8, 1)))))


def test_the_file_of_a_compression_is_run_on_the_digits(folder, capsys):
    exported(folder / "compressed" / "recommended" / "model.tflite")
    exec(program("getting_started.md"), {})
    assert 0.0 <= float(capsys.readouterr().out) <= 1.0


@pytest.mark.slow
def test_the_network_of_the_page_on_training_learns_to_withstand_its_attack(folder):
    names = {}
    exec(program("adversarial_training.md"), names)
    history = names["adversarial"].history.history
    assert history["val_accuracy"][-1] > 0.95 and history["val_robust_accuracy"][-1] > 0.6
