"""Weight tensors of networks that do not exist."""

import numpy as np
import pytest

from tf_laq import lipschitz
from tf_laq.sensitivity import WeightTensor


@pytest.fixture
def network():
    """Three tensors of different sizes and tails, the first fed by the input."""
    random = np.random.default_rng(0)
    values = [random.normal(size=(9, 8)), random.standard_t(3, (40, 30)), random.normal(size=(60, 50)) / 8]
    return [
        WeightTensor(f"layer{index}", "kernel", w.astype(np.float32), lipschitz.dense(), fed_by_input=index == 0)
        for index, w in enumerate(values)
    ]


@pytest.fixture
def entrance():
    """A tensor that the input reaches first, with less than 1 % of the weights of `network`."""
    values = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    return WeightTensor("layer0", "kernel", values, lipschitz.dense(), fed_by_input=True)
