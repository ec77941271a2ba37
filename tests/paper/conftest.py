from __future__ import annotations

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
        "curve_examples": 50,
        "plan_examples": 8,
        "plan_queries": 6,
        "plan_count": 3,
        "attacks": QUICK,
    }


@pytest.fixture(scope="session")
def data():
    from tf_laq import datasets

    return datasets.load("digits")


@pytest.fixture(scope="session")
def models(data):
    """Return small networks by role, plainly trained for a second: what is tested does not depend on how."""
    import tf_keras

    found = {}
    for seed, role in enumerate(("orig", "adv", "twin")):
        tf_keras.utils.set_random_seed(seed)
        layers = tf_keras.layers
        model = tf_keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Flatten(),
                layers.Dense(24, activation="relu", name="hidden"),
                layers.Dense(10, name="logits"),
            ]
        )
        model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(data.train.images, data.train.labels, epochs=12, batch_size=50, verbose=0)
        found[role] = model
    return found


@pytest.fixture(scope="session")
def networks(models):
    from tf_laq.paper.networks import Networks

    return Networks.of(models)


@pytest.fixture(scope="session")
def study(data, networks, changes, tmp_path_factory):
    from tf_laq.paper.settings import Settings
    from tf_laq.paper.study import Study

    settings = Settings.of("digits", **changes)
    return Study(
        "digits", data.test.images, data.test.labels, networks, settings, cache=tmp_path_factory.mktemp("runs")
    )
