"""The knapsack against brute force."""

import itertools

import hypothesis
import hypothesis.strategies as st
import pytest

from tf_laq.policies.knapsack import cheapest

options = st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 40)), min_size=1, max_size=4)


@hypothesis.given(st.lists(options, min_size=1, max_size=5), st.integers(1, 150), st.sampled_from([1.0, 1e-9, 1e9]))
def test_nothing_that_fits_costs_less(items, limit, scale):
    costs = [[cost * scale for cost, _ in item] for item in items]
    sizes = [[size for _, size in item] for item in items]
    choices = list(itertools.product(*(range(len(item)) for item in items)))

    def total(values, choice):
        return sum(value[option] for value, option in zip(values, choice, strict=True))

    fitting = [total(costs, choice) for choice in choices if total(sizes, choice) <= limit]
    found = cheapest(costs, sizes, limit)
    if not fitting:
        assert found is None
    else:
        assert total(sizes, found) <= limit
        assert total(costs, found) == pytest.approx(min(fitting), rel=1e-9, abs=1e-9 * scale)


def test_sizes_of_large_networks_do_not_blur_the_limit():
    weights = (432, 36_864, 16_777_216, 102_760_448)
    sizes = [[bits * count for bits in range(1, 9)] for count in weights]
    costs = [[4.0**-bits for bits in range(1, 9)] for _ in sizes]
    enough = 3 * sum(weights) + 5 * sum(weights[:2])
    assert cheapest(costs, sizes, enough) == [7, 7, 2, 2]
    assert cheapest(costs, sizes, enough - 1) == [6, 7, 2, 2]
