"""The multiple-choice knapsack: one setting for each tensor, the smallest sum of costs within a limit on the size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_laq._internal.messages import without_native_messages

# HiGHS stops within an absolute gap of 1e-6: costs are scaled up until that no longer counts.
_LARGEST_COST = 1e6


def cheapest(costs: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], limit: int) -> list[int] | None:
    """Return the option of each item that together cost least within the limit, or None if nothing fits.

        minimise  sum_i costs[i][x_i]   so that   sum_i sizes[i][x_i] <= limit

    Solved exactly, as a mixed-integer linear program, by HiGHS (Huangfu and Hall 2018).

    Args:
        costs: For each item, the cost of each option, finite.
        sizes: For each item, the size of each option, in whole units.
        limit: Largest sum of the sizes.

    Example:
        >>> cheapest([[9.0, 1.0], [4.0, 3.0]], [[1, 5], [1, 5]], 6)
        [1, 0]
    """
    options = [_worthwhile(cost, size) for cost, size in zip(costs, sizes, strict=True)]
    smallest = sum(size[option[0]] for option, size in zip(options, sizes, strict=True))
    if smallest > limit:
        return None
    if not options:
        return []
    chosen = _solve(options, costs, sizes, limit)
    excess = _total(sizes, chosen) - limit
    while excess > 0:  # The solver keeps the limit to its tolerance only.
        limit -= excess
        chosen = _solve(options, costs, sizes, limit) if smallest <= limit else [option[0] for option in options]
        excess = _total(sizes, chosen) - limit if smallest <= limit else 0
    return chosen


def _worthwhile(cost: Sequence[float], size: Sequence[int]) -> list[int]:
    """Return the options that cost less than every smaller one, by rising size."""
    kept: list[int] = []
    for option in sorted(range(len(cost)), key=lambda option: (size[option], cost[option])):
        if not kept or cost[option] < cost[kept[-1]]:
            kept.append(option)
    return kept


def _solve(
    options: list[list[int]], costs: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], limit: int
) -> list[int]:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    flat = [(item, option) for item, kept in enumerate(options) for option in kept]
    items = np.array([item for item, _ in flat])
    cost = np.array([costs[item][option] for item, option in flat])
    size = np.array([sizes[item][option] for item, option in flat], np.float64)
    one_each = csr_array((np.ones(len(items)), (items, np.arange(len(items)))))
    with without_native_messages(1):  # HiGHS prints some of its doubts whatever it is told.
        found = milp(
            cost / (np.abs(cost).max() or 1.0) * _LARGEST_COST,
            integrality=np.ones(len(items)),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(size[None, :], ub=limit)],
            options={"mip_rel_gap": 0.0},
        )
    return [kept[int(np.argmax(found.x[items == item]))] for item, kept in enumerate(options)]


def _total(sizes: Sequence[Sequence[int]], chosen: list[int]) -> int:
    return sum(size[option] for size, option in zip(sizes, chosen, strict=True))
