from __future__ import annotations

import numpy as np
import pytest

SMALL = {
    "epsilon": 0.03,
    "quantizers": ("linear", "log"),
    "bits": (2, 3),
    "examples": 12,
    "steps": 3,
    "queries": 8,
    "calibration": 8,
}


@pytest.fixture(scope="session")
def changes():
    """Return settings that make a study small."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def data():
    from tf_laq import datasets

    return datasets.load("digits")


@pytest.fixture(scope="session")
def model(data):
    """Return a small network: random features of a convolution and the least-squares readout, about 90 % right."""
    import tf_keras

    layers = tf_keras.layers
    network = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(10, name="logits"),
        ]
    )
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 6))
    network.layers[0].set_weights([kernel, np.zeros(6)])
    features = np.asarray(tf_keras.Sequential(network.layers[:-1])(data.train.images))
    features = np.column_stack([features, np.ones(len(features))])
    readout = np.linalg.lstsq(features, 10 * np.eye(10)[data.train.labels], rcond=None)[0]
    network.layers[-1].set_weights([readout[:-1], readout[-1]])
    return network


@pytest.fixture(scope="session")
def study(model, data, changes, tmp_path_factory):
    from research.cache import Cache
    from research.layers.settings import LayerSettings
    from research.layers.studying import LayerStudy

    cache = Cache(tmp_path_factory.mktemp("runs"))
    return LayerStudy(model, data, LayerSettings(**changes), cache=cache, progress=False)


@pytest.fixture(scope="session")
def trials(study):
    return study.trials()
