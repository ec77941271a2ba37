from __future__ import annotations

import numpy as np
import pytest

from tf_laq import datasets


@pytest.fixture(scope="session")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((50, 6, 6, 2)).astype(np.float32)


@pytest.fixture
def small_network():
    """Return a maker of small networks with fixed initial weights."""
    import tf_keras

    def make(*more, seed: int = 0):
        initializer = tf_keras.initializers.GlorotUniform(seed=seed)
        return tf_keras.Sequential(
            [
                tf_keras.Input((8, 8, 1)),
                tf_keras.layers.Flatten(),
                tf_keras.layers.Dense(16, activation="relu", kernel_initializer=initializer),
                tf_keras.layers.Dense(10, kernel_initializer=initializer),
                *more,
            ]
        )

    return make


@pytest.fixture
def compiled():
    """Return a function that compiles a model the usual way and returns it."""
    import tf_keras

    def compile_model(model, optimizer="adam", **options):
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], **options)
        return model

    return compile_model
