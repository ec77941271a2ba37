"""Results as files: pages in Markdown with the facts behind their numbers, CSV, and remarks written by hand."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import importlib.metadata
import io
import itertools
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from research import files
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan

RESULTS = Path(__file__).parents[1] / "docs" / "results"
"""Where the published pages are."""

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
        if self.picture is not None:
            files.write(folder / f"{self.name}.png", self.picture)
        return _write(folder, self.name, self._markdown(folder), self.headers, self.rows)

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


def write_check(
    name: str, title: str, text: str, headers: Sequence[str], rows: Rows, folder: str | os.PathLike[str]
) -> None:
    """Write what a check found: `<name>.md` (title, text, where and when, the rows as a table) and `<name>.csv`."""
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    page = f"# {title}\n\n{text.strip()}\n\n{circumstances()}\n\n{table}\n"
    _write(Path(folder), name, page, headers, rows)


def _write(folder: Path, name: str, page: str, headers: Sequence[str], rows: Rows) -> Path:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([headers, *rows])
    files.write(folder / f"{name}.csv", lines.getvalue())
    files.write(folder / f"{name}.md", page)
    return folder / f"{name}.md"


def circumstances() -> str:
    """Return when and on what a check ran, as a line."""
    names = ("tensorflow", "tf-keras", "ai-edge-litert", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"Run on {today}: {_processor()}, {platform.system()}, Python {platform.python_version()}, {versions}."


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    return f"{model} ({platform.machine()}, {os.cpu_count()} cores)"


def short_bits(plan: QuantizationPlan) -> str:
    """Return the settings of the layers in order, equal ones together.

    Example:
        >>> from tf_laq.plan import PlanEntry
        >>> entries = [PlanEntry(str(i), "kernel", (2, 2), "log", bits, 1.0) for i, bits in enumerate((3, 3, 4))]
        >>> short_bits(QuantizationPlan("by hand", "spectral", tuple(entries)))
        'log 3 x2, log 4'
    """
    settings = [f"{entry.quantizer} {entry.bits}" if entry.quantizer else "float32" for entry in plan.entries]
    groups = [(setting, len(list(same))) for setting, same in itertools.groupby(settings)]
    return ", ".join(setting if count == 1 else f"{setting} x{count}" for setting, count in groups)


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
