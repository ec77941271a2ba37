"""What an installed tf_laq does with the extras that it was installed with: `python tests/smoke.py data report`.

`make smoke` runs it in fresh environments, one for the package alone and one for each extra. What needs an extra that
is not named has to say so.
"""

import importlib.util
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import tf_laq as laq

# Before TensorFlow is imported, which is when it is first needed.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
warnings.simplefilter("ignore")
# The package that is tried is the installed one.
assert "site-packages" in laq.__file__, laq.__file__
IMAGES, LABELS = np.random.default_rng(0).random((4, 8, 8, 1), np.float32), np.arange(4) % 3


def network(keras):
    layers = keras.layers
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])


def quantized(keras, folder):
    """Search, apply, save, load, export and run a network of a version of Keras."""
    model = network(keras)
    small = laq.apply(model, laq.search(model, progress=False))
    laq.save_model(small, folder / f"{keras.__name__}.keras")
    assert laq.plan_of(laq.load_model(folder / f"{keras.__name__}.keras")).entries
    assert laq.export_tflite(small, folder / "model.tflite").predictions_equal
    assert laq.tflite.load(folder / "model.tflite")(IMAGES).shape == (4, 3)
    assert len(laq.datasets.load("digits").test) == 500


def without_extras(folder):
    import keras

    quantized(keras, folder)


def with_keras2(folder):
    if not importlib.util.find_spec("tf_keras"):
        laq.models.build("digits_cnn")
    import tf_keras

    quantized(tf_keras, folder)


def with_train(folder):
    import keras

    attack = laq.attacks.PGD(epsilon=0.1, steps=2)
    model = network(keras)
    adversarial = laq.training.AdversarialModel(model, attack)
    adversarial.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    adversarial.fit(IMAGES, LABELS, verbose=0)
    column = laq.attacks.Column(name="pgd", attacks={"white": attack})
    battery = laq.attacks.Battery(name="smoke", columns=(column,))
    print(laq.evaluate({"model": model}, IMAGES, LABELS, battery=battery, progress=False))


def with_report(folder):
    from tf_laq.attacks import Battery, Clean, Column
    from tf_laq.evaluation import Outcome, RobustnessReport

    outcome = Outcome.record(np.arange(4) < 3, model="model", column="clean", knowledge="none")
    robustness = RobustnessReport(
        models=("model",),
        surrogates=(),
        battery=Battery(name="clean", columns=(Column(name="clean", attacks={"none": Clean()}),)),
        count=4,
        seed=0,
        outcomes=(outcome,),
    )
    assert laq.report.write_report(folder / "report.html", robustness).stat().st_size


def with_data(folder):
    (folder / "mnist").mkdir()
    try:
        laq.datasets.load("mnist", data_dir=folder)
    except laq.InputError as error:
        # There are no files in the folder; whether the library is there is what the message tells.
        if "tfds build" not in str(error):
            raise


FEATURES = {"keras2": with_keras2, "train": with_train, "report": with_report, "data": with_data}


def main(extras):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        without_extras(Path(folder))
        print(f"the package alone: works, {time.perf_counter() - start:.0f} s")
        for extra, feature in FEATURES.items():
            if extra in extras or "all" in extras:
                feature(Path(folder))
                print(f"{extra}: works")
                continue
            try:
                feature(Path(folder))
            except laq.InputError as error:
                assert f'pip install "tf_laq[{extra}]"' in str(error), error
                print(f"{extra}: {error}")
            else:
                raise AssertionError(f"{extra} works without being asked for")


if __name__ == "__main__":
    main(sys.argv[1:])
