"""What importing tf_laq does to the process, each case in a fresh one."""

import subprocess
import sys

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


def test_importing_tf_laq_is_light_and_leaves_tf_keras_as_it_would_have_been():
    run("""
import tf_laq
heavy = ("tensorflow_model_optimization", "cleverhans", "matplotlib", "tensorflow_datasets", "sklearn", "tf_keras")
assert not [name for name in heavy if name in sys.modules]
tf_laq.apply(build())
assert "tensorflow_model_optimization" in sys.modules
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


def test_a_keras_3_model_is_refused_with_what_to_do_beside_a_tf_keras_model_that_works():
    run("""
import keras, tf_laq
tf_laq.uniform(build(), "linear", 3)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
for call in (tf_laq.search, tf_laq.apply, tf_laq.strip):
    try:
        call(model)
    except tf_laq.InputError as error:
        assert "Keras 3" in str(error) and "tf_keras" in str(error), error
    else:
        raise SystemExit("accepted")
import tensorflow as tf
assert tf.keras.layers.Dense.__module__.startswith("keras."), tf.keras.layers.Dense.__module__
""")
