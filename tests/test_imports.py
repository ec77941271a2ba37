"""What importing tf_laq does to the process, each case in a fresh one."""

import subprocess
import sys

import pytest

PREAMBLE = """
import os, sys
os.environ.pop("TF_USE_LEGACY_KERAS", None)
def build():
    import tf_keras
    model = tf_keras.Sequential([tf_keras.layers.Dense(2)])
    model.build((None, 3))
    return model
"""


def run(code):
    result = subprocess.run([sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


def test_tfmot_is_not_imported_before_a_tf_keras_model_arrives():
    run("""
import tf_laq as laq
heavy = ("tensorflow_model_optimization", "cleverhans", "matplotlib", "tensorflow_datasets", "sklearn", "tf_keras")
assert not [name for name in heavy if name in sys.modules]
laq.uniform(build(), "linear", 3)
assert "tensorflow_model_optimization" in sys.modules
""")


@pytest.mark.parametrize(
    "imports",
    [
        "import tf_laq, tensorflow",
        "import tensorflow, tf_laq",
        "import tf_keras, tf_laq",
        "import keras, tf_laq",
    ],
)
def test_tf_keras_stays_what_it_would_have_been(imports):
    run(f"""
{imports}
tf_laq.apply(build())
import tensorflow as tf
assert tf.keras.layers.Dense.__module__.startswith("keras."), tf.keras.layers.Dense.__module__
assert "TF_USE_LEGACY_KERAS" not in os.environ
""")


def test_a_users_choice_of_keras_2_is_kept():
    run("""
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_laq
tf_laq.uniform(build(), "linear", 3)
import tensorflow as tf
assert tf.keras.layers.Dense.__module__.startswith("tf_keras."), tf.keras.layers.Dense.__module__
assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
""")


def test_a_keras_3_model_is_refused_with_what_to_do():
    run("""
import keras, tf_laq
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
for call in (tf_laq.search, tf_laq.apply, tf_laq.strip):
    try:
        call(model)
    except tf_laq.InputError as error:
        assert "Keras 3" in str(error) and "tf_keras" in str(error), error
    else:
        raise SystemExit("accepted")
""")
