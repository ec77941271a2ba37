"""Results as files: Markdown with the facts behind its numbers, CSV, and remarks written by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from tf_laq._internal import files
from tf_laq.errors import InputError

Rows = Sequence[Sequence[object]]


class Section(NamedTuple):
    """A part of a page: its heading (may be ""), its tables as Markdown, and the name of the remark below them."""

    heading: str
    body: str
    remark: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Tables or a figure, ready to be written.

    Attributes:
        name: Name of the files without their ending, such as "mnist_table3".
        title: Heading.
        sections: The tables.
        facts: Lines on what they were measured with.
        values: Name -> number as text, for the remarks to name instead of repeating it.
        headers: Headers of the CSV file.
        rows: Its rows.
        picture: PNG file, or None.
    """

    name: str
    title: str
    sections: Sequence[Section]
    facts: Sequence[str]
    values: Mapping[str, str]
    headers: Sequence[str]
    rows: Rows
    picture: bytes | None = None

    def write(self, folder: Path) -> Path:
        """Write the Markdown with its remarks, the CSV, and the picture; return the path of the first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.headers)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        files.write_text(folder / f"{self.name}.csv", text.getvalue())
        if self.picture is not None:
            with files.replacing(folder / f"{self.name}.png") as part:
                part.write_bytes(self.picture)
        page = folder / f"{self.name}.md"
        files.write_text(page, self._markdown(folder))
        return page

    def _markdown(self, folder: Path) -> str:
        blocks = [f"# {self.title}"]
        if self.picture is not None:
            blocks.append(f"![{self.title}]({self.name}.png)")
        for heading, body, name in self.sections:
            blocks += [f"## {heading}"] if heading else []
            blocks += [body, remark(folder, name, self.values)]
        blocks.append("\n".join(f"- {fact}" for fact in self.facts))
        return "\n\n".join(block for block in blocks if block) + "\n"


def remark(folder: Path, name: str, values: Mapping[str, str]) -> str:
    """Return the remark that someone wrote on a result, with its numbers put in; "" if there is none.

    A remark is Markdown in `remarks/<name>.md`. `{lq.pgd.white}` in it stands for the value of that name, so that its
    numbers are always those of the table.

    Raises:
        InputError: It names a value that the result does not have.
    """
    path = folder / "remarks" / f"{name}.md"
    if not path.is_file():
        return ""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise InputError(str(path), expected=f"names among {', '.join(values)}", received=found[0])
        return values[found[1]]

    return re.sub(r"\{([^{}]+)\}", value, path.read_text(encoding="utf-8")).strip()


def markdown_table(headers: Sequence[str], rows: Rows) -> str:
    """Return a table as Markdown; None is an empty cell.

    Example:
        >>> print(markdown_table(["bits"], [[3], [None]]))
        | bits   |
        |--------|
        | 3      |
        |        |
    """
    text = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return tabulate(text, headers, tablefmt="github", disable_numparse=True)
