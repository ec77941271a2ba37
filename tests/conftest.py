"""Settings that all tests share."""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Several BLAS threads and several test processes on a few cores mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import pytest

# A program for the installed package.
collect_ignore = ["smoke.py"]

# The tests run against the installed package; research/ is not installed, and the clone is not on the path.
_RESEARCH = Path(__file__).parents[1] / "research" / "__init__.py"
_spec = importlib.util.spec_from_file_location("research", _RESEARCH)
sys.modules["research"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["research"])

# The first example of a property may trace a TensorFlow function; no test here is about time.
hypothesis.settings.register_profile("tf_laq", deadline=None, max_examples=20)
hypothesis.settings.load_profile("tf_laq")


@pytest.fixture(scope="session")
def mnist_data():
    """Return MNIST, or skip where its prepared files are not at hand."""
    from tf_laq import datasets
    from tf_laq.errors import InputError

    try:
        return datasets.load("mnist")
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture
def accuracy():
    """Return a function that measures accuracy on a split, clean or under PGD-20 at `epsilon`."""
    import numpy as np

    from tf_laq.attacks import PGD

    def measure(model, split, epsilon=0.0):
        def logits(images):
            return model(images, training=False)

        images = split.images
        if epsilon:
            images = PGD(epsilon=epsilon, steps=20)(logits, images, split.labels)
        return float(np.mean(np.argmax(logits(images), axis=1) == split.labels))

    return measure


@pytest.fixture
def ternary():
    """A user's own quantizer, registered for the test: -m, 0 or m, for m the mean magnitude."""
    from tf_laq import quantizers

    @quantizers.register
    class Ternary(quantizers.Quantizer):
        name, min_bits, max_bits = "ternary", 2, 2

        def scale(self, weights, operations):
            return operations.mean_magnitude(weights)

        def levels(self, scale, operations):
            return operations.constant([-1.0, 0.0, 1.0]) * scale

    yield Ternary
    quantizers.unregister("ternary")


@pytest.fixture
def exported(tmp_path):
    """Plan a dense layer with one quantizer alone, train it, strip it and export it; what all have in common holds."""
    import numpy as np
    import tf_keras

    import tf_laq as laq
    from tf_laq import quantizers

    def export(name, bits, kernel, layout):
        model = tf_keras.Sequential([tf_keras.layers.Input(kernel.shape[:1]), tf_keras.layers.Dense(kernel.shape[1])])
        model.layers[-1].set_weights([kernel, np.zeros(kernel.shape[1])])
        plan = laq.search(model, policy="budget", quantizers=(name,), average_bits=bits, progress=False)
        assert (plan.entries[0].quantizer, plan.entries[0].bits) == (name, bits)
        wrapped = laq.apply(model, plan)
        wrapped.compile("sgd", "mse")
        wrapped.fit(np.ones((4, kernel.shape[0])), np.ones((4, kernel.shape[1])), verbose=0)
        plain = laq.strip(wrapped)
        trained = np.asarray(plain.layers[-1].kernel)
        assert np.array_equal(quantizers.get(name, bits).quantize(trained), trained)
        tensor = laq.export_tflite(plain, tmp_path / "model.tflite", plan, layout=layout).tensors[0]
        assert tensor.kept
        return trained, tensor

    return export


@pytest.fixture(scope="session")
def network():
    """Return a small network for the digits that withstands something."""
    import dataclasses

    from tf_laq import datasets, training

    small = {"epochs": 8, "model_options": {"width": 8}, "batch_size": 32, "attack": {"epsilon": 0.06, "steps": 3}}
    quick = {"learning_rate": 0.01, "learning_rate_warmup": 0.0, "epsilon_warmup": 0.0}
    recipe = dataclasses.replace(training.recipe("digits"), **small, **quick)
    trained = training.train("digits", recipe, keras=3, progress=False)
    test = datasets.load("digits").test
    assert (trained.predict(test.images, verbose=0).argmax(axis=1) == test.labels).mean() > 0.9
    return trained


@pytest.fixture(scope="session")
def compressing(network):
    """Return a function that compresses the network, or another one, under few and quick attacks."""
    import warnings

    import tf_laq as laq
    from tf_laq.policies import UnsatisfiedWarning

    def run(out, model=network, data="digits", **changes):
        lines: list[str] = []
        settings = {"epsilon": 0.06, "preset": "quick", "examples": 64, "announce": lines.append, "progress": False}
        # Three of the 64 images.
        settings["rule"] = laq.Rule(max_loss=5.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsatisfiedWarning)
            return laq.compress(model, data, out=out, **{**settings, **changes}), lines

    return run


@pytest.fixture(scope="session")
def compressed(compressing, tmp_path_factory):
    """Return the folder and the result of a finished compression, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("compressed")
    return folder, compressing(folder)[0]
