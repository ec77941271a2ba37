from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from tf_laq.errors import InputError
from tf_laq.evaluation import Share, mcnemar, wilson_interval


@pytest.mark.parametrize(
    ("successes", "count", "lower", "upper"),
    [
        # The first three: Newcombe 1998, Table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_intervals_have_their_published_ends(successes, count, lower, upper) -> None:
    assert wilson_interval(successes, count) == pytest.approx((lower, upper), abs=5e-5)


@given(count=st.integers(1, 20_000), data=st.data(), confidence=st.floats(0.01, 0.999))
def test_an_end_is_where_the_score_test_rejects(count, data, confidence) -> None:
    successes = data.draw(st.integers(0, count))
    share = successes / count
    lower, upper = wilson_interval(successes, count, confidence)
    assert 0.0 <= lower <= share + 1e-12
    assert share - 1e-12 <= upper <= 1.0
    for end in (lower, upper):
        if 1e-9 < end < 1 - 1e-9:
            z = abs(share - end) / math.sqrt(end * (1 - end) / count)
            assert math.erf(z / math.sqrt(2)) == pytest.approx(confidence, abs=1e-6)


@given(count=st.integers(1, 500), data=st.data())
def test_swapping_successes_and_failures_mirrors_the_interval(count, data) -> None:
    successes = data.draw(st.integers(0, count))
    lower, upper = wilson_interval(successes, count)
    assert wilson_interval(count - successes, count) == pytest.approx((1 - upper, 1 - lower))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((1, 0), "count"), ((-1, 5), "successes"), ((6, 5), "successes"), ((1, 5, 1.0), "confidence")],
)
def test_impossible_counts_are_refused(arguments, name) -> None:
    with pytest.raises(InputError, match=f"^{name}: "):
        wilson_interval(*arguments)


def test_a_share_prints_percent_with_its_interval() -> None:
    assert str(Share(270, 300)) == "90.0 [86.1, 92.9]"


@pytest.mark.parametrize(
    ("first", "second", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (0, 5, 0.0625), (23, 4, 0.00031), (15, 6, 0.0784)]
)
def test_mcnemar_is_the_exact_binomial_test(first, second, p) -> None:
    assert mcnemar(first, second) == pytest.approx(p, rel=0.01)
