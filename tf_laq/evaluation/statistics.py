"""Shares and their differences on the same images, with their confidence intervals."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import whole
from tf_laq.errors import InputError

# The exact test would take minutes.
_MOST_EXAMPLES = 1_000_000
_QUANTILE = NormalDist().inv_cdf(0.975)


@typed
def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = successes / n, z the normal quantile
    (Wilson 1927). Unlike the normal interval it stays inside [0, 1] and has a width at 0 and 1.

    Args:
        successes: Number of successes, from 0 to `count`.
        count: Number of trials n, at least 1.
        confidence: Coverage, above 0 and below 1.

    Returns:
        The lower and the upper end, each in [0, 1].

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> [round(end, 4) for end in wilson_interval(90, 100)]
        [0.8256, 0.9448]
    """
    whole("count", count)
    whole("successes", successes, minimum=0)
    if successes > count:
        raise InputError("successes", expected=f"at most the count, {count}", received=successes)
    if not 0.0 < confidence < 1.0:
        raise InputError("confidence", expected="a number above 0 and below 1", received=confidence)
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    share, spread = successes / count, z * z / count
    center = (share + spread / 2.0) / (1.0 + spread)
    half = math.sqrt(spread * share * (1.0 - share) + spread * spread / 4.0) / (1.0 + spread)
    # Rounding could leave the share itself outside, at 0 and 1.
    return max(min(center - half, share), 0.0), min(max(center + half, share), 1.0)


@typed
def mcnemar(first: int, second: int) -> float:
    """Return the two-sided p of McNemar's exact test that two attacks break equally many examples.

    2 P(X <= min(b, c)), X binomial with b + c trials and probability 1/2, at most 1 (McNemar 1947). Examples that
    both break or neither does tell nothing.

    Args:
        first: Number b of examples that only the first attack breaks.
        second: Number c of examples that only the second attack breaks.

    Raises:
        InputError: A number is negative.

    Example:
        >>> mcnemar(5, 0), mcnemar(3, 3)
        (0.0625, 1.0)
    """
    whole("first", first, minimum=0, maximum=_MOST_EXAMPLES)
    whole("second", second, minimum=0, maximum=_MOST_EXAMPLES)
    count, term, tail = int(first) + int(second), 1, 0
    for k in range(min(first, second) + 1):
        tail += term
        term = term * (count - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**count))


@dataclasses.dataclass(frozen=True)
class Share:
    """A number of successes among a number of trials.

    Example:
        >>> share = Share(90, 100)
        >>> share.value
        0.9
        >>> print(share)
        90.0 [82.6, 94.5]
    """

    successes: int
    count: int

    @property
    def value(self) -> float:
        """The share itself, from 0 to 1."""
        return self.successes / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval, from 0 to 1."""
        return wilson_interval(self.successes, self.count)

    def __str__(self) -> str:
        lower, upper = self.interval
        return f"{100 * self.value:.1f} [{100 * lower:.1f}, {100 * upper:.1f}]"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of accuracies in percentage points, with the ends of its 95 % interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.lower:.1f}, {self.upper:.1f}]"


def drop(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Difference:
    """Return how much accuracy is lost between two models on the same images.

    The interval is Agresti and Min's (2005) for matched pairs: with b images that only the first gets right, c that
    only the second does and n in all, b' = b + 1/2, c' = c + 1/2, n' = n + 2:
    (b' - c')/n' +- z sqrt(b' + c' - (b' - c')^2/n')/n'.

    Args:
        before: Where the first model is right, shape (n,).
        after: Where the second one is.

    Raises:
        InputError: They are not truth values of one shape (n,).

    Example:
        >>> print(drop(np.repeat(True, 100), np.arange(100) >= 20))
        20.0 [11.7, 27.5]
    """
    for argument, right in (("before", before), ("after", after)):
        if np.shape(right) != np.shape(before) or np.ndim(right) != 1 or np.asarray(right).dtype != bool:
            received = f"shape {np.shape(right)}, dtype {np.asarray(right).dtype}"
            expected = "truth values of shape (n,), as many of both models"
            raise InputError(argument, expected=expected, received=received)
    count = len(before)
    if not count:
        raise InputError("before", expected="at least one image", received="none")
    only_first, only_second = float((before & ~after).sum()), float((after & ~before).sum())
    b, c, n = only_first + 0.5, only_second + 0.5, count + 2
    center, half = (b - c) / n, _QUANTILE * math.sqrt(b + c - (b - c) ** 2 / n) / n
    # Divided last, so that 7 of 1,000 are 0.7 and not a little more.
    value, lower, upper = 100 * (only_first - only_second) / count, 100 * (center - half), 100 * (center + half)
    # The added halves could leave the difference itself outside, at -100 and 100.
    return Difference(value, min(max(lower, -100.0), value), max(min(upper, 100.0), value))
