"""What a user sees while something runs: lines at once, and nothing from native libraries."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.abc
import importlib.machinery
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator, Sequence

Announce = Callable[[str], object]
"""Receives a line that says what begins."""

print_now: Announce = functools.partial(print, flush=True)


_WIDTH_ELSEWHERE = 120


def terminal_width() -> int:
    """Return how many characters fit into a line of the terminal; 120 in files and pipes."""
    return shutil.get_terminal_size((_WIDTH_ELSEWHERE, 0)).columns


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


@contextlib.contextmanager
def imported_quietly(module: str) -> Iterator[None]:
    """Hide what native code writes while a module is imported, whenever that happens."""
    finder = _QuietFinder(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _QuietFinder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: types.ModuleType) -> None:
                with without_native_messages():
                    execute(module)

            spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


def _flush() -> None:
    """Write out what Python and the C library hold back: it would end in the wrong place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, or closed.
            stream.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Where there is no such library.
        ctypes.CDLL(None).fflush(None)
