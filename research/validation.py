"""Refusing settings that are out of range, with an error that names them."""

from __future__ import annotations

import math
from collections.abc import Collection

from tf_laq.errors import InputError


def whole(subject: str, value: object, *, minimum: int = 1) -> None:
    """Refuse what is not a whole number of at least `minimum`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InputError(subject, expected=f"a whole number of at least {minimum}", received=repr(value))


def real(subject: str, value: object, *, minimum: float = 0.0, maximum: float = math.inf) -> None:
    """Refuse what is not a finite number from `minimum` to `maximum`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(value)) or not minimum <= float(value) <= maximum:  # type: ignore[arg-type]
        bounds = f"of at least {minimum:g}" if math.isinf(maximum) else f"from {minimum:g} to {maximum:g}"
        raise InputError(subject, expected=f"a finite number {bounds}", received=repr(value))


def one_of(subject: str, value: object, choices: Collection[str]) -> None:
    """Refuse what is not one of `choices`."""
    if value not in choices:
        raise InputError(subject, expected=f"one of {', '.join(choices)}", received=repr(value))
