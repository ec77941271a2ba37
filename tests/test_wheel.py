"""The package as others get it: a small wheel that works without its repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import warnings
import numpy as np
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras
import tf_laq as laq

assert laq.__file__.startswith({site!r}), laq.__file__
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
quantized = laq.bake(model, laq.search(model, progress=False))
assert laq.export_tflite(quantized, "m.tflite").predictions_equal
data = laq.datasets.load("digits")
battery = laq.attacks.Battery.preset("digits").only(["fgsm_weak"])
images, labels = data.test.images[:4], data.test.labels[:4]
report = laq.evaluate({{"m": quantized}}, images, labels, battery=battery, progress=False)
laq.report.write_report("report.html", robustness=report)
assert laq.training.recipe("digits").epochs
assert laq.models.trained() == {{}}
try:
    laq.models.load("mnist_adv")
except laq.InputError as error:
    assert "set TF_LAQ_MODELS" in str(error), error
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, since a build leaves folders in the source.
    source = folder / "source"
    shutil.copytree(ROOT / "tf_laq", source / "tf_laq", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run([*pip, *build], check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_is_small_and_holds_the_package_alone(wheel):
    assert wheel.stat().st_size < 1_000_000
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"tf_laq"}
    assert {"tf_laq/py.typed", "tf_laq/__init__.pyi", "tf_laq/attacks/__init__.pyi"} <= set(names)
    assert {"LICENSE", "NOTICE", "digits.npz"} <= {Path(name).name for name in names}


def test_it_works_where_there_is_no_clone(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(site=str(site)))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("TF_LAQ_MODELS", None)
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
