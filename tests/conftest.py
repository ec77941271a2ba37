"""Settings that all tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Several BLAS threads and several test processes on a few cores mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import pytest

# The first example of a property may trace a TensorFlow function; no test here is about time.
hypothesis.settings.register_profile("tf_laq", deadline=None, max_examples=20)
hypothesis.settings.load_profile("tf_laq")


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
