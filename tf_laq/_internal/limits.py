"""How much memory the content of one file may take: a file can declare more than any machine has."""

from __future__ import annotations

import os

from tf_laq.errors import InputError

VARIABLE = "TF_LAQ_MAX_GIGABYTES"
_DEFAULT = 16.0


def memory() -> int:
    """Return the limit in bytes.

    Raises:
        InputError: The environment variable with it is no positive number.

    Example:
        >>> memory()
        16000000000
    """
    text = os.environ.get(VARIABLE, str(_DEFAULT))
    try:
        limit = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise InputError(VARIABLE, expected="a positive number", received=repr(text))
    return limit


def check(subject: str, size: int) -> None:
    """Refuse what would take more bytes than the limit.

    Raises:
        InputError: The same.

    Example:
        >>> check("data.npz", 10**13)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: data.npz: expected a file of at most 16 GB in memory. Received: 10000 GB. ...
    """
    if size > memory():
        needed = -(-size // 10**9)
        raise InputError(
            subject,
            expected=f"a file of at most {memory() / 1e9:g} GB in memory",
            received=f"{needed} GB",
            remedy=f"If you trust it, set the environment variable {VARIABLE} to {needed}.",
        )
