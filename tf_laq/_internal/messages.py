"""What a user sees while something runs: lines at once, and nothing from native libraries."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator

Announce = Callable[[str], object]
"""Receives a line that says what begins."""

print_now: Announce = functools.partial(print, flush=True)


@contextlib.contextmanager
def without_native_messages(descriptor: int = 2) -> Iterator[None]:
    """Hide what native code writes to the standard error stream, or to the output stream (1), around Python's own."""
    try:
        saved = os.dup(descriptor)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    _flush()
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(nowhere)


def _flush() -> None:
    """Write out what Python and the C library hold back: it would end in the wrong place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, or closed.
            stream.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Where there is no such library.
        ctypes.CDLL(None).fflush(None)
