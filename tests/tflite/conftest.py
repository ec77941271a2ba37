from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small_cnn():
    """Return a small convolutional network with fixed weights, biases included."""
    from tf_laq import models

    network = models.build("digits_cnn", seed=3, width=4)
    random = np.random.default_rng(0)
    network.set_weights(
        [w if w.ndim > 1 else random.normal(size=w.shape).astype(np.float32) for w in network.get_weights()]
    )
    return network


@pytest.fixture(scope="session")
def normalised_net():
    """Return a network whose batch normalisations have statistics of their own, before and after kernels."""
    import tf_keras

    layers = tf_keras.layers
    network = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            layers.BatchNormalization(name="norm_first"),
            layers.Conv2D(4, 3, name="conv1"),
            layers.BatchNormalization(name="norm1"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.ReLU(),
            layers.BatchNormalization(name="norm2"),
            layers.Flatten(),
            layers.Dense(10, name="dense"),
        ],
        name="normalised_net",
    )
    random = np.random.default_rng(1)
    network.set_weights([w + random.uniform(0.1, 0.9, w.shape).astype(np.float32) for w in network.get_weights()])
    return network
