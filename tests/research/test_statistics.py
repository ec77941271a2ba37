from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from research.statistics import drop_difference, spearman, spread
from tf_laq.evaluation import drop


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_the_rank_correlation_is_scipys(pairs):
    x, y = np.array(pairs, float).T
    found = spearman(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert found is None
    else:
        assert found.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
        assert -1 <= found.lower <= found.upper <= 1


def test_the_bootstrap_interval_is_about_that_of_fisher_and_the_same_again():
    random = np.random.default_rng(0)
    x = random.normal(size=200)
    y = x + random.normal(size=200)
    found = spearman(x, y, seed=1)
    half = 1.96 * np.sqrt((1 + found.value**2 / 2) / 197)
    fisher = np.tanh(np.arctanh(found.value) + np.array([-half, half]))
    np.testing.assert_allclose([found.lower, found.upper], fisher, atol=0.04)
    assert spearman(x, y, seed=1) == found != spearman(x, y, seed=2)


def test_pairs_that_repeat_within_a_group_do_not_narrow_the_interval():
    random = np.random.default_rng(0)
    x = random.normal(size=20)
    y = x + random.normal(size=20)
    thrice, group = np.repeat([x, y], 3, axis=1), np.repeat(np.arange(20), 3)
    found = spearman(*thrice, groups=group)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(spearman(x, y)))
    naive = spearman(*thrice)
    assert naive.upper - naive.lower < 0.8 * (found.upper - found.lower)


def test_nothing_has_no_mean():
    assert spread([]) is None


def test_the_interval_of_a_drop_is_that_of_agresti_and_min():
    # Their example (2005, section 1): 1600 voters, 150 change to one side and 86 to the other.
    before = np.repeat([True, False, True, False], [794, 570, 150, 86])
    after = np.repeat([True, False, False, True], [794, 570, 150, 86])
    found = drop(before, after)
    assert found.value == 4.0
    assert (found.lower, found.upper) == (pytest.approx(2.11, abs=0.03), pytest.approx(5.88, abs=0.03))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_drop_lies_in_its_interval_within_100_points(pairs):
    before, after = np.array(pairs, bool).T
    found = drop(before, after)
    assert -100 <= found.lower <= found.value <= found.upper <= 100
    back = drop(after, before)
    assert (back.value, back.upper) == (pytest.approx(-found.value), pytest.approx(-found.lower))


def test_the_difference_of_two_drops_has_the_interval_of_a_mean():
    random = np.random.default_rng(0)
    pairs = [tuple(random.random(500) < share for share in shares) for shares in ((0.9, 0.4), (0.9, 0.8))]
    found = drop_difference(*pairs)
    values = [np.subtract(*(np.asarray(right, float) for right in pair)) for pair in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interval = stats.norm.interval(0.95, np.mean(values[0] - values[1]), stats.sem(values[0] - values[1]))
    assert (found.lower, found.upper) == pytest.approx(tuple(100 * end for end in interval))
