"""Tables of plain text that are as wide as there is room."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

_GAP = "  "
_NARROWEST = 24


def fitted(headers: Sequence[str], rows: Sequence[Sequence[Any]], width: int, *, spare: Sequence[str] = ()) -> str:
    """Return a table whose last column is wrapped, without those of the columns `spare` for which there is no room.

    Args:
        headers: Names of the columns.
        rows: A cell for each column: a text, a number, or None where there is nothing to say.
        width: Most characters of a line. A table that needs more without all columns of `spare` has more.
        spare: Names of columns, the first to be left out first; not the last column.

    Example:
        >>> rows = [["conv1", 144, 0.5, "the fewest bits within the limits"], ["dense1", 32768, None, "set by hand"]]
        >>> print(fitted(["layer", "weights", "error", "why"], rows, 40, spare=["weights"]))
        layer   error  why
        ------  -----  -------------------------
        conv1   0.500  the fewest bits within
                       the limits
        dense1      -  set by hand
    """
    columns = {name: [name, *(_text(row[place]) for row in rows)] for place, name in enumerate(headers)}
    numbers = {name for place, name in enumerate(headers) if any(isinstance(row[place], (int, float)) for row in rows)}
    last = headers[-1]
    reasons = columns.pop(last)
    wanted = min(max(map(len, reasons)), _NARROWEST)
    for name in spare:
        if _room(columns, width) >= wanted:
            break
        del columns[name]
    room = max(_room(columns, width), wanted)
    wide = {name: max(map(len, cells)) for name, cells in columns.items()}
    lines = []
    for place, reason in enumerate(reasons):
        cells = [
            columns[name][place].rjust(wide[name]) if name in numbers else columns[name][place].ljust(wide[name])
            for name in columns
        ]
        first, *others = textwrap.wrap(reason, room) or [""]
        lines.append(_GAP.join([*cells, first]))
        lines += [_GAP.join([*(" " * each for each in wide.values()), other]) for other in others]
        if place == 0:
            longest = min(room, max(map(len, reasons)))
            lines.append(_GAP.join("-" * each for each in (*wide.values(), longest)))
    return "\n".join(line.rstrip() for line in lines)


def _room(columns: dict[str, list[str]], width: int) -> int:
    """Return how many characters are left of a line beside the columns."""
    return width - sum(max(map(len, cells)) + len(_GAP) for cells in columns.values())


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
