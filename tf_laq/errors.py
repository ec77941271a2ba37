"""The one error that bad input raises."""

from __future__ import annotations

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
        came = str(received)
        # An array or a mapping may have thousands of values.
        came = came if len(came) <= _SHOWN else f"{came[:_SHOWN]} ..."
        text = f"{subject}: expected {expected}. Received: {came}."
        super().__init__(f"{text} {remedy}".rstrip())
