from __future__ import annotations

import pytest

import tf_laq as laq
from tf_laq import compression, datasets


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture
def candidate():
    """Return a further candidate that is attacked in full."""
    policy = laq.policies.Uniform(laq.quantizers.get("log", 1))
    return compression.Candidate(name="log-1", policy=policy, always_attacked=True)
