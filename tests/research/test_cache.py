"""What is kept, and when it is made again."""

import numpy as np
import pytest

from research.cache import Cache
from tf_laq.errors import InputError


def test_arrays_are_made_once_for_each_set_of_facts(tmp_path):
    made = []

    def arrays(cache, facts):
        def make():
            made.append(facts)
            return {"values": np.arange(3), "number": 2.5}

        return cache.arrays("name", facts, make)

    for cache in (Cache(tmp_path), Cache(tmp_path)):
        for facts in ({"seed": 0}, {"seed": 1}):
            found = arrays(cache, facts)
            np.testing.assert_array_equal(found["values"], np.arange(3))
            assert float(found["number"]) == 2.5
    assert made == [{"seed": 0}, {"seed": 1}]
    assert len(list(tmp_path.glob("name-*.npz"))) == len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cache(tmp_path / "runs").arrays("name", {}, fail)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_file_is_named(tmp_path):
    Cache(tmp_path).arrays("name", {}, lambda: {"values": np.zeros(2)})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"name-.*npz: expected arrays.*Remove it"):
        Cache(tmp_path).arrays("name", {}, dict)
