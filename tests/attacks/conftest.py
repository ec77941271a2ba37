from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.adapters import logits_function


@pytest.fixture(scope="session")
def digits():
    """Return training images and labels, and 500 test images and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images[order, ..., None] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    return images[:1200], labels[:1200], images[1200:1700], labels[1200:1700]


@pytest.fixture(scope="session")
def images(digits):
    return digits[2]


@pytest.fixture(scope="session")
def labels(digits):
    return digits[3]


@pytest.fixture(scope="session")
def network(digits):
    """Return a small network, plainly trained for a second or two."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            tf_keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(32, activation="relu"),
            tf_keras.layers.Dense(10),
        ]
    )
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0], digits[1], epochs=25, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="session")
def logits(network):
    return logits_function(network)


@pytest.fixture(scope="session")
def predictions(logits):
    """Return a function from images to predicted classes."""
    return lambda images: np.argmax(logits(tf.constant(images)), axis=1)


@pytest.fixture(scope="session")
def two_class_direction():
    """Return the gradient of the margin of class 0 in a linear two-class model of 4 x 4 images."""
    return np.random.default_rng(1).normal(size=(4, 4, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def linear_logits(two_class_direction):
    """Return the linear model whose class-0 margin at x is <direction, x - 1/2> + 1/10."""

    def model(images):
        margin = tf.reduce_sum((images - 0.5) * two_class_direction, [1, 2, 3]) + 0.1
        return tf.stack([margin, tf.zeros_like(margin)], 1)

    return model
