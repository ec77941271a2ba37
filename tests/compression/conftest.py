from __future__ import annotations

import dataclasses
import warnings

import pytest

import tf_laq as laq
from tf_laq import compression, datasets, training
from tf_laq.policies import UnsatisfiedWarning

EPSILON = 0.03
RECIPE = dataclasses.replace(training.recipe("digits"), epochs=6, model_options={"width": 4}, epsilon_warmup=0.0)


@pytest.fixture(scope="session")
def network():
    """Return a small network for the digits that withstands something."""
    return training.train("digits", RECIPE, keras=3, progress=False)


@pytest.fixture(scope="session")
def compressing(network):
    """Return a function that compresses the network, or another one, under few and quick attacks."""

    def run(out, model=network, data="digits", **changes):
        lines: list[str] = []
        settings = {"epsilon": EPSILON, "preset": "quick", "examples": 64, "announce": lines.append, "progress": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsatisfiedWarning)
            return laq.compress(model, data, out=out, **{**settings, **changes}), lines

    return run


@pytest.fixture(scope="session")
def compressed(compressing, tmp_path_factory):
    """Return the folder and the result of a finished compression, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("compressed")
    return folder, compressing(folder)[0]


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture
def candidate():
    """Return a further candidate that is attacked in full."""
    policy = laq.policies.Uniform(laq.quantizers.get("log", 1))
    return compression.Candidate(name="log-1", policy=policy, always_attacked=True)
