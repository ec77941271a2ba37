"""Writing what a check found: a page with a table, and the same rows as comma-separated values."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import io
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tf_laq._internal import files

FOLDER = Path(__file__).parent.parent / "docs" / "results"


def write(
    name: str, title: str, text: str, headers: Sequence[str], rows: Sequence[Sequence[Any]], folder: str | os.PathLike
) -> None:
    """Write `<name>.md` (the title, the text, where and when, the rows as a table) and `<name>.csv` (the rows)."""
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    files.write_text(Path(folder) / f"{name}.md", f"# {title}\n\n{text.strip()}\n\n{circumstances()}\n\n{table}\n")
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([headers, *rows])
    files.write_text(Path(folder) / f"{name}.csv", lines.getvalue())


def circumstances() -> str:
    """Return when and on what a check ran, as a line."""
    names = ("tensorflow", "tf-keras", "ai-edge-litert", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"Run on {today}: {processor()}, {platform.system()}, Python {platform.python_version()}, {versions}."


def processor() -> str:
    """Return the kind of processor, its architecture and the number of cores."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    return f"{model} ({platform.machine()}, {os.cpu_count()} cores)"
