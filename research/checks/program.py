"""What the programs have in common: their arguments, the trained networks, and where their results go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from research.pages import RESULTS, Rows, write_check

SAVED_MODELS = Path(__file__).parents[2] / "saved_models"


def argument_parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a program's docstring, with the option `--results` for the folder of its page."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the page (default: docs/results)")
    return parser


def publish(name: str, title: str, text: str, headers: Sequence[str], rows: Rows, folder: Path) -> None:
    """Write the page and the CSV file, and print the table."""
    write_check(name, title, text, headers, rows, folder)
    print(tabulate(rows, headers, disable_numparse=True))
