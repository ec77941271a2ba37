from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.adapters import logits_function
from tf_laq.attacks import PGD


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noting(PGD):
    """Leaves the images alone and notes the numbers of the examples that it was asked for."""

    name: ClassVar[str] = "noting"
    seen: ClassVar[list[np.ndarray]] = []

    def _perturb(self, logits, images, labels, seed, indices):
        self.seen.append(indices)
        return images


@pytest.fixture
def noting():
    """Return an attack that only notes what it is asked for, having noted nothing."""
    Noting.seen.clear()
    return Noting(epsilon=0.1)


@pytest.fixture(scope="session")
def digits():
    """Return the images and labels of the 8x8 digits in a fixed random order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order, ..., None] / 16).astype(np.float32), data.target[order].astype(np.int64)


@pytest.fixture(scope="session")
def keras_network(digits):
    """Return a small network, plainly trained for a second or two."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dense(10)]
    )
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0][:1200], digits[1][:1200], epochs=25, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="session")
def network(keras_network):
    """Return the small network as a function to logits."""
    return logits_function(keras_network)


@pytest.fixture(scope="session")
def directions():
    """Return the directions of three linear models of 4x4 images."""
    return np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def linear(directions):
    """Return the models of two classes whose margin of class 0 is <direction, x - 1/2>."""

    def model(direction):
        def logits(images):
            margin = tf.reduce_sum((images - 0.5) * direction, [1, 2, 3])
            return tf.stack([margin, -margin], 1)

        return logits

    return [model(direction) for direction in directions]


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(1).uniform(0.3, 0.7, (50, 4, 4, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def labels(images, directions):
    """Return the first model's classes, one in ten of them wrong."""
    right = np.sum((images - 0.5) * directions[0], axis=(1, 2, 3)) < 0
    return (right ^ (np.arange(len(images)) % 10 == 0)).astype(np.int64)
