from __future__ import annotations

import numpy as np
import pytest

QUICK = {
    "cw_l2": {"binary_search_steps": 1, "steps": 4, "start_steps": 4},
    "pgd": {"steps": 3},
    "bim": {"steps": 3},
    "mim": {"steps": 3},
    "square": {"queries": 12},
    "apgd_ce": {"steps": 4},
    "apgd_t": {"steps": 4, "targets": 2},
}


@pytest.fixture(scope="session")
def changes():
    """Return settings that make every evaluation small."""
    return {
        "examples": 24,
        "strong_examples": 12,
        "clean_examples": 50,
        "plan_examples": 8,
        "plan_queries": 6,
        "plan_count": 3,
        "attacks": QUICK,
        "selection": {
            "clean_examples": 12,
            "uniform": {"log": [3]},
            "guarded": {},
            "by_limit": {},
            "images": 32,
            "after": {"fine-tuned": ["lq"]},
            "recipe": {"epochs": 1},
            "attacks": {},
        },
    }


@pytest.fixture(scope="session")
def data():
    from tf_laq import datasets

    return datasets.load("digits")


@pytest.fixture(scope="session")
def models(data):
    """Return small networks by role: random hidden units and the least-squares readout, about 90 % right."""
    import tf_keras

    layers, found = tf_keras.layers, {}
    images, targets = data.train.images.reshape(-1, 64), np.eye(10)[data.train.labels]
    for seed, role in enumerate(("orig", "adv", "twin")):
        hidden = layers.Dense(64, activation="relu", name="hidden")
        model = tf_keras.Sequential(
            [layers.Input((8, 8, 1)), layers.Flatten(), hidden, layers.Dense(10, name="logits")]
        )
        weights = np.random.default_rng(seed).normal(0, 0.3, (64, 64))
        features = np.column_stack([np.maximum(images @ weights, 0), np.ones(len(images))])
        readout = np.linalg.lstsq(features, 10 * targets, rcond=None)[0]
        model.set_weights([weights, np.zeros(64), readout[:-1], readout[-1]])
        found[role] = model
    return found


@pytest.fixture(scope="session")
def networks(models):
    """Return the networks of the tables, without `q1`: the fewer, the faster."""
    from research.paper.roles import Networks

    found = Networks.of(models)
    return Networks(found.trained, {name: found.quantized[name] for name in ("q2", "lq")})


@pytest.fixture(scope="session")
def study(data, networks, changes, tmp_path_factory):
    from research.cache import Cache
    from research.paper.settings import PaperSettings
    from research.paper.study import Study

    settings = PaperSettings.of("digits", **changes)
    return Study("digits", data.test, networks, settings, Cache(tmp_path_factory.mktemp("runs")))
