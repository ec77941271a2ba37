"""Settings that all tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Several BLAS threads and several test processes on a few cores mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis

# The first example of a property may trace a TensorFlow function; no test here is about time.
hypothesis.settings.register_profile("tf_laq", deadline=None, max_examples=20)
hypothesis.settings.load_profile("tf_laq")
