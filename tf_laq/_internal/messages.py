"""What a user sees while something runs: lines at once, and nothing from native libraries."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

Announce = Callable[[str], object]
"""Receives a line that says what begins."""

print_now: Announce = functools.partial(print, flush=True)


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Hide what native code writes to the standard error stream, around Python's own."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
