"""The one error that bad input raises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_SHOWN = 1000


class InputError(ValueError):
    """Input that cannot be used: names it, what was expected, what came, and what to do.

    Args:
        subject: The argument, layer, file or column that is wrong.
        expected: What would have been right.
        received: What came instead.
        remedy: What the caller can do about it, as a full sentence; may be empty.

    Example:
        >>> raise InputError("bits", expected="a whole number from 1 to 16", received=0)
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: bits: expected a whole number from 1 to 16. Received: 0.
    """

    def __init__(self, subject: str, *, expected: str, received: object, remedy: str = "") -> None:
        self._subject: str = subject
        self._others: dict[str, Any] = {"expected": expected, "received": received, "remedy": remedy}
        came = str(received)
        # An array or a mapping may have thousands of values.
        came = came if len(came) <= _SHOWN else f"{came[:_SHOWN]} ..."
        text = f"{subject}: expected {expected}. Received: {came}."
        super().__init__(f"{text} {remedy}".rstrip())

    def __reduce__(self) -> tuple[Callable[[], InputError], tuple[()]]:
        # An error that comes from another process is made anew there, by the arguments that it had here.
        others = {**self._others, "received": str(self._others["received"])}
        return functools.partial(type(self), self._subject, **others), ()

    def within(self, whole: str) -> InputError:
        """Return the error as one of a part of something larger.

        Example:
            >>> raise InputError("bits", expected="a whole number", received="x").within("plan.json")
            Traceback (most recent call last):
            ...
            tf_laq.errors.InputError: plan.json: bits: expected a whole number. Received: x.
        """
        return InputError(f"{whole}: {self._subject}", **self._others)
