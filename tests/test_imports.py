"""What importing tf_laq does to the process, each case in a fresh one."""

import itertools
import subprocess
import sys

import pytest

PREAMBLE = """
import os, sys
os.environ.pop("TF_USE_LEGACY_KERAS", None)
import importlib
def build(name="tf_keras"):
    keras = importlib.import_module(name)
    model = keras.Sequential([keras.layers.Dense(2)])
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
assert "tensorflow_model_optimization.python" in sys.modules
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


STEPS = {
    "tf_laq": """
import tf_laq
for k in ("tf_keras", "keras"):
    tf_laq.apply(build(k))
""",
    "TFMOT": "import tensorflow_model_optimization",
    "tf.keras": "import tensorflow as tf; tf.keras.layers",
}
WITHOUT_TF_LAQ = itertools.permutations(["TFMOT", "tf.keras"])
ORDERS = [*WITHOUT_TF_LAQ, *itertools.permutations(STEPS)]


def test_the_user_can_still_choose_keras_2_after_a_model_was_quantized():
    run("""
import tf_laq
tf_laq.apply(build())
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf
assert tf.keras.layers.Dense.__module__.startswith("tf_keras."), tf.keras.layers.Dense.__module__
""")


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", [*itertools.permutations(STEPS), ("TFMOT", "tf.keras"), ("tf.keras", "TFMOT")], ids=", ".join
)
def test_tf_keras_is_what_it_would_be_without_tf_laq_in_any_order(order):
    # The first import of TFMOT turns `tf.keras` into Keras 2 if nothing has looked at it. Ours does not.
    expected = "tf_keras" if order.index("TFMOT") < order.index("tf.keras") else "keras"
    steps = "".join(f"\n{STEPS[name]}\n" for name in order)
    run(f"{steps}\nassert tf.keras.layers.Dense.__module__.split('.')[0] == {expected!r}, tf.keras.layers.Dense")


def test_tfmot_imported_after_tf_laq_has_the_classes_that_tf_laq_uses():
    run("""
import tf_laq
tf_laq.apply(build())
import tensorflow_model_optimization as tfmot
from tf_laq.adapters.keras2.tfmot import QuantizeConfig, Quantizer
assert tfmot.quantization.keras.QuantizeConfig is QuantizeConfig
assert tfmot.quantization.keras.quantizers.Quantizer is Quantizer
assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
tf_laq.apply(build())
""")
