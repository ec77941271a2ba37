from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def plans():
    import tf_laq as laq

    network = laq.models.build("digits_cnn", seed=0, width=2)
    return {name: laq.uniform(network, method, 3) for name, method in (("q1", "linear"), ("q2", "log"))}


@pytest.fixture(scope="session")
def robustness():
    """Return a report of two models with known outcomes."""
    from tf_laq.attacks.battery import Battery
    from tf_laq.evaluation import Outcome, RobustnessReport

    def outcome(model, column, knowledge, right, surrogate=None):
        correct = np.arange(20) < right
        return Outcome.record(correct, model=model, column=column, knowledge=knowledge, surrogate=surrogate)

    cells = [("clean", "none", None), ("pgd", "gray", "twin"), ("pgd", "white", None)]
    numbers = {"q1": (19, 12, 5), "<b>q2</b>": (20, 14, 9)}
    return RobustnessReport(
        models=tuple(numbers),
        surrogates=("twin",),
        battery=Battery.preset("digits").only(["clean", "pgd"]),
        count=20,
        seed=0,
        outcomes=tuple(
            outcome(model, column, knowledge, right, surrogate)
            for model, rights in numbers.items()
            for (column, knowledge, surrogate), right in zip(cells, rights, strict=True)
        ),
    )


@pytest.fixture(scope="session")
def compression(tmp_path_factory):
    """Return the folder and the result of the compression of a network that was trained for a moment."""
    import tf_keras

    import tf_laq as laq

    data = laq.datasets.load("digits")
    network = laq.models.build("digits_cnn", seed=0, width=2)
    network.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(data.train.images, data.train.labels, epochs=20, verbose=0)
    folder = tmp_path_factory.mktemp("compression")
    return folder, laq.compress(
        network,
        data,
        out=folder,
        epsilon=0.02,
        preset="standard",
        examples=32,
        command="laq compress 'a & b'",
        announce=lambda line: None,
        progress=False,
    )
