"""Differences between accuracies on the same images, and rank correlation, with their intervals."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tf_laq.evaluation.report import Correct

_QUANTILE = NormalDist().inv_cdf(0.975)
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of accuracies in percentage points, with the ends of its 95 % interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.lower:.1f}, {self.upper:.1f}]"


def drop(before: Correct, after: Correct) -> Difference:
    """Return how much accuracy is lost between two models on the same images.

    The interval is Agresti and Min's (2005) for matched pairs: with b images that only the first gets right, c that
    only the second does and n in all, b' = b + 1/2, c' = c + 1/2, n' = n + 2:
    (b' - c')/n' +- z sqrt(b' + c' - (b' - c')^2/n')/n'.

    Args:
        before: Where the first model is right, shape (n,).
        after: Where the second one is.

    Example:
        >>> print(drop(np.repeat(True, 100), np.arange(100) >= 20))
        20.0 [12.0, 28.2]
    """
    count = len(before)
    only_first, only_second = float((before & ~after).sum()), float((after & ~before).sum())
    b, c, n = only_first + 0.5, only_second + 0.5, count + 2
    center, half = (b - c) / n, _QUANTILE * math.sqrt(b + c - (b - c) ** 2 / n) / n
    value, lower, upper = (only_first - only_second) / count, max(center - half, -1.0), min(center + half, 1.0)
    # The added halves could leave the difference itself outside, at -1 and 1.
    return Difference(100 * value, 100 * min(lower, value), 100 * max(upper, value))


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


def spearman(x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int = 0) -> Correlation | None:
    """Return Spearman's rank correlation, ties at their mean rank, with its 95 % percentile bootstrap interval.

    2,000 resamples of the pairs; those in which a variable does not vary are left out.

    Args:
        x: Values of the first variable, shape (n,).
        y: Values of the second one.
        seed: Of the resampling.

    Returns:
        The correlation; None where a variable does not vary.

    Example:
        >>> print(spearman([1, 2, 3, 4], [1, 4, 9, 16]))
        1.00 [1.00, 1.00]
    """
    pairs = np.stack([np.asarray(x, float), np.asarray(y, float)])
    value = _rank_correlation(pairs)
    if value is None:
        return None
    random = np.random.default_rng(seed)
    places = random.integers(0, pairs.shape[1], (_RESAMPLES, pairs.shape[1]))
    resampled = [found for place in places if (found := _rank_correlation(pairs[:, place])) is not None]
    lower, upper = np.percentile(resampled, [2.5, 97.5]).tolist()
    return Correlation(value, lower, upper)


def _rank_correlation(pairs: npt.NDArray[np.float64]) -> float | None:
    ranks = np.stack([_ranks(values) for values in pairs])
    if (ranks.min(axis=1) == ranks.max(axis=1)).any():
        return None
    correlations: npt.NDArray[np.float64] = np.asarray(np.corrcoef(ranks))
    # Rounded to keep a perfect correlation from exceeding 1.
    return round(float(correlations[0, 1]), 12)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: npt.NDArray[np.int64] = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks
