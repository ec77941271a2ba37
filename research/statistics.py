"""Accuracies, their differences on the same images, and rank correlations, with their intervals; means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tf_laq.evaluation import Correct, Difference, Share

_QUANTILE = NormalDist().inv_cdf(0.975)
_RESAMPLES = 2000
# Rounding leaves less of the ranks of equal values.
_SAME = 1e-6


def share(right: Correct) -> Share:
    """Return an accuracy from where a model is right.

    Example:
        >>> print(share(np.repeat([True, False], [90, 10])))
        90.0 [82.6, 94.5]
    """
    return Share(int(right.sum()), len(right))


class Spread(NamedTuple):
    """A mean with its standard deviation."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f}"


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and population standard deviation, or None without values.

    Example:
        >>> print(spread([1.0, 3.0]))
        2.00 ± 1.00
    """
    return Spread(float(np.mean(values)), float(np.std(values))) if values else None


def drop_difference(first: tuple[Correct, Correct], second: tuple[Correct, Correct]) -> Difference:
    """Return how much more accuracy the first pair of models loses than the second, all on the same images.

    The interval is the normal one of the mean over images of (before - after) of the first pair minus the second's.

    Example:
        >>> right, wrong = np.repeat(True, 4), np.repeat(False, 4)
        >>> drop_difference((right, wrong), (right, right)).value
        100.0
    """
    losses = [before.astype(float) - after.astype(float) for before, after in (first, second)]
    values = 100 * (losses[0] - losses[1])
    half = _QUANTILE * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return Difference(mean, mean - half, mean + half)


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A rank correlation with the ends of its 95 % bootstrap interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


def spearman(
    x: npt.ArrayLike, y: npt.ArrayLike, *, groups: npt.ArrayLike | None = None, seed: int = 0
) -> Correlation | None:
    """Return Spearman's rank correlation, ties at their mean rank, with its 95 % percentile bootstrap interval.

    2,000 resamples of the pairs, or of whole groups of them; those in which a variable does not vary are left out.

    Args:
        x: Values of the first variable, shape (n,).
        y: Values of the second one.
        groups: Label of the group of each pair, for pairs that are not independent within a group; None if all are.
        seed: Of the resampling.

    Returns:
        The correlation; None where a variable does not vary.

    Example:
        >>> print(spearman([1, 2, 3, 4], [1, 4, 9, 16]))
        1.00 [1.00, 1.00]
    """
    pairs = np.stack([np.asarray(x, float), np.asarray(y, float)])
    count = pairs.shape[1]
    value = float(_rank_correlations(pairs, np.ones((1, count)))[0])
    if math.isnan(value):
        return None
    group = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    number, random = int(group.max()) + 1, np.random.default_rng(seed)
    drawn = random.multinomial(number, [1 / number] * number, _RESAMPLES)
    resamples = _rank_correlations(pairs, drawn[:, group].astype(float))
    lower, upper = np.nanpercentile(resamples, [2.5, 97.5]).tolist()
    return Correlation(value, lower, upper)


def _rank_correlations(pairs: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the rank correlation of pairs (2, n), each taken as often as each row of `counts` (m, n) says: (m,).

    NaN where a variable does not vary.
    """
    x, y = (_centered_ranks(values, counts) for values in pairs)
    norm = np.sqrt((counts * x * x).sum(axis=1) * (counts * y * y).sum(axis=1))
    correlations = (counts * x * y).sum(axis=1) / np.where(norm > _SAME, norm, np.nan)
    return np.asarray(np.clip(correlations, -1.0, 1.0))


def _centered_ranks(values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the ranks (m, n) of values (n,) that are there `counts` (m, n) times, minus their mean."""
    places = np.unique(values, return_inverse=True)[1]
    # How often each different value is there; equal ones share the middle of the ranks that they take up.
    taken = counts @ np.eye(places.max() + 1)[places]
    ranks = (np.cumsum(taken, axis=1) - (taken - 1) / 2)[:, places]
    return np.asarray(ranks - (counts * ranks).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True))
