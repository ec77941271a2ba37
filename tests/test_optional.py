"""What works where only TensorFlow is installed, and what the rest says there."""

import subprocess
import sys

import pytest

from tf_laq._internal.optional import check_extra, of_extra
from tf_laq.errors import InputError

WITHOUT_EXTRAS = """
import importlib.abc, sys, warnings

ABSENT = (
    "cleverhans", "importlib_resources", "jinja2", "matplotlib", "sklearn", "tensorflow_datasets",
    "tensorflow_model_optimization", "tf_keras",
)

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
warnings.simplefilter("ignore")

import keras
import tf_laq as laq
from tf_laq.datasets import tfds
from tf_laq.report import pages

def refused(call, extra):
    try:
        call()
    except laq.InputError as error:
        assert f'pip install "tf_laq[{extra}]"' in str(error), error
    else:
        raise AssertionError(extra)

model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
small = laq.apply(model, laq.search(model, progress=False))
assert laq.export_tflite(small, "model.tflite").predictions_equal
assert len(laq.datasets.load("digits").test) == 500
(tfds.folder_of(".") / "mnist").mkdir()
refused(lambda: laq.attacks.PGD, "train")
refused(lambda: laq.training.AdversarialModel, "train")
refused(lambda: laq.evaluate, "train")
refused(lambda: laq.models.build("digits_cnn"), "keras2")
refused(lambda: laq.datasets.load("mnist", data_dir="."), "data")
refused(lambda: laq.report.panels(1, 1), "report")
refused(lambda: pages.render("report.html"), "report")
"""


def test_search_apply_and_export_need_no_extra_and_everything_else_names_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_a_library_of_an_extra_lacks_itself_is_in_the_extra_too():
    message = r'absl_of_old: .*attacks.*Received: none\. Run pip install "tf_laq\[train\]"'
    with pytest.raises(InputError, match=message), of_extra("train"):
        raise ModuleNotFoundError("No module named 'absl_of_old'", name="absl_of_old")


def test_a_long_run_can_ask_beforehand(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"jinja2: .*report pages and plots need"):
        check_extra("report")
