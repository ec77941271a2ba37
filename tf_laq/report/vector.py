"""Pictures as SVG inside a page: their text can be read aloud and scales, and their colours follow the page's."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

# As wide as a phone shows at full size, so that text keeps its size there.
WIDTH = 360.0
"""Of every picture, in its own units."""
LINE = 14.0
"""From one line of text to the next."""


class Box(NamedTuple):
    """A rectangle in a picture; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Return whether two boxes overlap."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


class Frame:
    """An SVG picture as it is drawn.

    Args:
        title: What the picture is.
        description: What it shows, for who cannot see it.
        height: Of the picture; the width is always the same.
    """

    def __init__(self, title: str, description: str, height: float) -> None:
        size = {"viewBox": f"0 0 {WIDTH:g} {height:g}", "role": "img"}
        self._root = ElementTree.Element("svg", size)
        self.add("title", text=title)
        self.add("desc", text=description)

    def add(self, tag: str, kind: str = "", *, text: str = "", **attributes: float | str) -> None:
        """Add an element of a class; numbers are written with one digit after the point."""
        shown = {n.replace("_", "-"): f"{v:.1f}" if isinstance(v, float) else str(v) for n, v in attributes.items()}
        element = ElementTree.SubElement(self._root, tag, {"class": kind, **shown} if kind else shown)
        element.text = text or None

    def line(self, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Add a straight line."""
        self.add("line", kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def write(self, kind: str, text: str, x: float, y: float, anchor: str = "start") -> None:
        """Add text whose baseline begins, ends or has its middle at a place."""
        self.add("text", kind, text=text, x=x, y=y, text_anchor=anchor)

    @property
    def markup(self) -> Markup:
        """The picture as part of a page."""
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))
