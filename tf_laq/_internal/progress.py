"""How far something is: a bar on a terminal, and elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 60.0


def progress_bar(iterable: Iterable[Any] | None = None, *, shown: bool, **settings: Any) -> tqdm[Any]:
    """Return tqdm's bar; where the error stream is a file or a pipe, it writes a line a minute there.

    Args:
        iterable: What to count, if it is not counted by `update`.
        shown: Whether to show anything.
        settings: Further settings of tqdm.

    Example:
        >>> sum(progress_bar([1, 2, 3], shown=False))
        6
    """
    from tqdm import tqdm

    stream = sys.stderr
    if not shown or stream is None:
        return tqdm(iterable, disable=True, **settings)
    if stream.isatty():
        return tqdm(iterable, dynamic_ncols=True, **settings)
    return tqdm(iterable, file=_Lines(stream, _SECONDS_BETWEEN_LINES), leave=False, **settings)


class _Lines:
    """A stream that makes lines of what tqdm draws in place, and leaves out those that come too early.

    Args:
        stream: Where the lines go.
        seconds: The least time from one to the next, and before the first.
    """

    def __init__(self, stream: TextIO, seconds: float) -> None:
        self._stream, self._seconds, self._last = stream, seconds, time.monotonic()

    def write(self, text: str) -> None:
        """Write a line, if it has anything and is not too early."""
        line = text.strip()
        if line and time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        """Pass on what was written."""
        self._stream.flush()
