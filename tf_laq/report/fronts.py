"""The picture of all models by the size of their file and their worst case."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from tf_laq.compression.result import ORIGINAL, Compression
from tf_laq.report.vector import LINE, WIDTH, Box, Frame

_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, WIDTH - 10.0, 24.0, 262.0
_LETTER = 6.6
_RADIUS = 4.0
# Whose label finds a place first.
_ORDER = ("chosen", "full", "bound")


@dataclasses.dataclass(frozen=True)
class _Point:
    """The models of one size and worst case; without an interval, that is only a bound. The one to ship has a mark."""

    names: tuple[str, ...]
    bytes: int
    worst: float
    interval: tuple[float, float] | None
    mark: str

    @property
    def kind(self) -> str:
        if self.mark:
            return "chosen"
        return "bound" if self.interval is None else "full"

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self.names, self.mark) if self.mark else self.names

    def __str__(self) -> str:
        reach = "at most " if self.interval is None else ""
        between = "" if self.interval is None else f" ({self.interval[0]:.1f} to {self.interval[1]:.1f})"
        return f"{', '.join(self.lines)}: {self.bytes:,} bytes, worst case {reach}{self.worst:.1f} %{between}."


class _Mark(NamedTuple):
    """What is drawn at a place, and the lines that say what it is."""

    kind: str
    x: float
    y: float
    lines: tuple[str, ...]

    @property
    def box(self) -> Box:
        """What the mark covers."""
        return Box(self.x - _RADIUS, self.y - _RADIUS, self.x + _RADIUS, self.y + _RADIUS)


@dataclasses.dataclass(frozen=True)
class _Scale:
    """Where sizes and worst cases are in the picture: sizes logarithmically, between the given ends."""

    smallest: float
    largest: float
    low: float
    high: float

    @classmethod
    def around(cls, sizes: Sequence[int], worst: Sequence[float]) -> _Scale:
        """Return the scale that shows all of them, with some room."""
        room = max((max(sizes) / min(sizes)) ** 0.08, 1.07)
        return cls(min(sizes) / room, max(sizes) * room, max(0.0, min(worst) - 3.0), min(100.0, max(worst) + 3.0))

    def x(self, size: float) -> float:
        """Return how far to the right a size is."""
        return _LEFT + (_RIGHT - _LEFT) * math.log(size / self.smallest) / math.log(self.largest / self.smallest)

    def y(self, worst: float) -> float:
        """Return how far down a worst case in percent is."""
        inside = min(max(worst, self.low), self.high)
        return _BOTTOM - (_BOTTOM - _TOP) * (inside - self.low) / (self.high - self.low)


def draw_sizes(result: Compression) -> Markup:
    """Draw every model by the bytes of its file and its worst case, with the front, the rule and the recommendation."""
    points = _points(result)
    before = next(point.worst for point in points if ORIGINAL in point.names)
    least, limit = before - result.rule.max_loss, result.rule.max_bytes
    scale = _Scale.around(
        [point.bytes for point in points] + ([] if limit is None else [limit]),
        [end for point in points for end in (point.worst, *(point.interval or ()))] + [least],
    )
    frame = Frame("Size of the file against worst case", " ".join(str(point) for point in points), _BOTTOM + 38.0)
    height = scale.y(least) - scale.y(before)
    frame.add("rect", "band", x=_LEFT, y=scale.y(before), width=_RIGHT - _LEFT, height=height)
    _draw_axes(frame, scale)
    taken = []
    if limit is not None:
        frame.line("limit", (scale.x(limit), _TOP), (scale.x(limit), _BOTTOM))
        taken.append(Box(scale.x(limit) - 1, _TOP, scale.x(limit) + 1, _BOTTOM))
    best = result.front()
    taken += _draw_front(frame, scale, [point for point in points if set(best) & set(point.names)])
    taken += [box for point in points for box in _draw_point(frame, scale, point)]
    marks = [_Mark(point.kind, scale.x(point.bytes), scale.y(point.worst), point.lines) for point in points]
    for mark in sorted(_together(marks), key=lambda mark: _ORDER.index(mark.kind)):
        place = _free_place(mark, taken)
        if place is not None:
            taken.append(place)
            for number, line in enumerate(mark.lines, 1):
                kind = "label strong" if mark.kind == "chosen" else "label"
                frame.write(kind, line, place.left, place.top + number * LINE - 3)
    return frame.markup


def _draw_axes(frame: Frame, scale: _Scale) -> None:
    for tick in _even_ticks(scale.low, scale.high):
        frame.line("grid", (_LEFT, scale.y(tick)), (_RIGHT, scale.y(tick)))
        frame.write("tick", f"{tick:g}", _LEFT - 5, scale.y(tick) + 4, "end")
    for size in _size_ticks(scale.smallest, scale.largest):
        frame.line("grid", (scale.x(size), _BOTTOM), (scale.x(size), _BOTTOM + 4))
        frame.write("tick", _short(size), scale.x(size), _BOTTOM + 16, "middle")
    frame.line("grid", (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM))
    frame.write("tick", "worst case, %", 0.0, 11.0)
    frame.write("tick", "bytes of the file, logarithmic scale", (_LEFT + _RIGHT) / 2, _BOTTOM + 33, "middle")


def _draw_front(frame: Frame, scale: _Scale, best: Sequence[_Point]) -> list[Box]:
    """Draw the steps between the best models, and return what they cover."""
    taken = []
    for point, larger in itertools.pairwise(sorted(best, key=lambda point: point.bytes)):
        x, y, end, higher = scale.x(point.bytes), scale.y(point.worst), scale.x(larger.bytes), scale.y(larger.worst)
        frame.add("path", "front", d=f"M {x:.1f} {y:.1f} H {end:.1f} V {higher:.1f}")
        taken += [Box(x, y - 1, end, y + 1), Box(end - 1, higher, end + 1, y)]
    return taken


def _draw_point(frame: Frame, scale: _Scale, point: _Point) -> list[Box]:
    """Draw a model with its interval, or with a line down from its bound, and return what they cover."""
    mark = _Mark(point.kind, scale.x(point.bytes), scale.y(point.worst), ())
    if point.interval is None:
        frame.line("interval", (mark.x, mark.y), (mark.x, mark.y + 3 * _RADIUS))
        frame.add("path", "bound", d=f"M {mark.x - 5:.1f} {mark.y - 4:.1f} h 10 l -5 8 z")
        return [mark.box]
    lower, upper = (scale.y(end) for end in point.interval)
    frame.line("interval", (mark.x, lower), (mark.x, upper))
    frame.add("circle", mark.kind, cx=mark.x, cy=mark.y, r=_RADIUS + (2 if point.mark else 0))
    return [mark.box, Box(mark.x - 1, upper, mark.x + 1, lower)]


def _points(result: Compression) -> list[_Point]:
    mark = "(recommended)" if result.recommendation.keeps_rule else "(nearest to the rule)"
    found: dict[tuple[int, int, bool], _Point] = {}
    for model in result.models:
        attacked = result.attacked(model.name)
        share = (result.robustness if attacked else result.screening).worst_case(model.name)
        key = (model.bytes, share.successes, attacked)
        earlier = found[key].names if key in found else ()
        found[key] = _Point(
            names=(*earlier, model.name),
            bytes=model.bytes,
            worst=100 * share.value,
            interval=(100 * share.interval[0], 100 * share.interval[1]) if attacked else None,
            mark=mark if result.recommendation.name in (*earlier, model.name) else "",
        )
    return list(found.values())


def _together(marks: Sequence[_Mark]) -> list[_Mark]:
    """Return the marks with one label for all bounds that lie on each other."""
    found: list[_Mark] = []
    for mark in marks:
        for number, other in enumerate(found):
            if mark.kind == other.kind == "bound" and mark.box.meets(other.box):
                found[number] = other._replace(lines=other.lines + mark.lines)
                break
        else:
            found.append(mark)
    return found


def _free_place(mark: _Mark, taken: Sequence[Box]) -> Box | None:
    """Return where a label beside a mark covers nothing; None if there is no such place."""
    width, height = _LETTER * max(map(len, mark.lines)), LINE * len(mark.lines)
    away = [3 + LINE * number for number in range(4)]
    tops = [mark.y - height / 2, *(top for down in away for top in (mark.y + down, mark.y - height - down))]
    for top, left in itertools.product(tops, (mark.x + 9, mark.x - 9 - width)):
        box = Box(left, top, left + width, top + height)
        inside = left >= _LEFT and box.right <= _RIGHT and top >= _TOP - LINE and box.bottom <= _BOTTOM
        if inside and not any(map(box.meets, taken)):
            return box
    return None


def _even_ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.5, 1, 2, 5, 10, 20) if (high - low) / step <= 6)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _size_ticks(low: float, high: float) -> list[float]:
    """Return round numbers of bytes, as few as say what the scale is."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks: list[float] = []
    for digits in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)):
        ticks = [digit * 10**power for power in powers for digit in digits if low <= digit * 10**power <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: math.ceil(len(ticks) / 6) or 1]


def _short(size: float) -> str:
    """Return a number of bytes in its largest unit.

    Example:
        >>> _short(500), _short(20_000), _short(1_500_000)
        ('500 B', '20 kB', '1.5 MB')
    """
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= least:
            return f"{size / least:g} {unit}"
    return f"{size:g} B"
