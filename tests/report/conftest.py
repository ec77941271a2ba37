from __future__ import annotations

import dataclasses

import numpy as np
import pytest


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
def compression(compressed):
    """Return the folder and the result of a compression, with a command that has to be quoted."""
    folder, result = compressed
    return folder, dataclasses.replace(result, command="laq compress 'a & b'")
