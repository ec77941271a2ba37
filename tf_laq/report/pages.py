"""What all pages have in common: their templates, tables and the pictures inside of them."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from importlib import resources
from typing import Any

from tf_laq._internal.optional import of_extra

_NUMBER_FORMAT = ".3f"


@dataclasses.dataclass(frozen=True)
class Table:
    """The headers and rows of a table; the first cell of a row is its heading."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Card:
    """A figure that a page begins with: its name, its value, what to know of it, and how it is coloured."""

    name: str
    value: str
    lines: Sequence[str]
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file inside the page; one that is wide keeps its width and scrolls."""

    title: str
    source: str
    caption: str
    wide: bool = False

    @classmethod
    def of(cls, content: bytes, title: str, caption: str, *, wide: bool = False) -> Picture:
        """Return the picture of a PNG file."""
        return cls(title, f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", caption, wide)


def render(template: str, **content: Any) -> str:
    """Return the page that one of the templates makes of its content."""
    with of_extra("report"):
        from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(name: str) -> str:
        return resources.files("tf_laq.report").joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(content)


def cell(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return format(value, _NUMBER_FORMAT)
    return f"{value:,}" if isinstance(value, int) else str(value)
