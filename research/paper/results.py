"""From the name of a table to its files."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from research import files
from research.cache import Cache
from research.pages import Result
from research.paper.claims import claims
from research.paper.figure import bits_figure
from research.paper.norms import norm_table
from research.paper.roles import ROLES, Networks, shipped
from research.paper.selection import selection_table
from research.paper.settings import PaperSettings
from research.paper.study import Announce, Study
from research.paper.tables import accuracy_table
from research.validation import one_of, whole
from tf_laq import datasets
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan

ALL, _CLAIMS, _SELECTION = "all", "claims", "selection"
_Make = Callable[[Study, str], Result]
_print_now: Announce = functools.partial(print, flush=True)

RESULTS: dict[str, _Make] = {
    **{f"table{number}": functools.partial(accuracy_table, number=number) for number in range(1, 5)},
    "table5": norm_table,
    "figure1": bits_figure,
    _CLAIMS: claims,
    _SELECTION: selection_table,
}
# The paper has each of these for one data set; the digits have those of MNIST.
_OF_ONE_DATASET = {"table1": "mnist", "table3": "mnist", "table2": "cifar10", "table4": "cifar10"}


def reproduce(
    what: str = ALL,
    dataset: str = "mnist",
    *,
    out: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    models: Mapping[str, Any] | None = None,
    plans: Mapping[str, QuantizationPlan] | None = None,
    network: str = "",
    seed: int = 0,
    announce: Announce = _print_now,
    **changes: Any,
) -> list[Path]:
    """Make tables or figures of the paper again, beside its own numbers, and return the pages.

    Each becomes a page in Markdown with a CSV file, and a picture where it has one. A page ends with the remark that
    `out`/remarks has for it. Equal arguments give equal files. The arguments are those of the command `reproduce`, but
    `models` is role ("orig", "adv", "twin", "fl") -> Keras model (`adv` is needed; what needs another one is left out,
    and the page says so), `plans` is name -> plan, `announce` receives a line at each evaluation and the roles that are
    missing, and `changes` are fields of `PaperSettings` instead of those in settings.json.

    Raises:
        InputError: An argument is wrong, or there is no network in the role `adv`.
    """
    wanted = results_of(what, dataset)
    whole("seed", seed, minimum=0)
    settings = PaperSettings.of(dataset, network, **changes)
    given = shipped(dataset, network) if models is None else models
    for role in (role for role in ROLES if role not in given):
        announce(f"No network in the role {role} ({ROLES[role]}): what needs it is left out.")
    networks = Networks.of(given, plans, settings.budget_bits)
    test = datasets.load(dataset).test
    study = Study(dataset, test, networks, settings, Cache(cache), seed=seed, network=network, announce=announce)
    options = {"network": network or None, "models": None if models is None else "ROLE=PATH,...", "seed": seed or None}
    pages = []
    for name in wanted:
        pages.append(RESULTS[name](study, _command(name, dataset, {**options, **changes})).write(Path(out)))
        announce(f"{pages[-1]}")
    write_index(Path(out))
    return pages


def results_of(what: str, dataset: str) -> list[str]:
    """Return the results that a name stands for.

    Raises:
        InputError: There is no such result, or the paper has it for another data set.

    Example:
        >>> results_of("all", "cifar10")
        ['table2', 'table4', 'table5', 'figure1']
    """
    one_of("what", what, [*RESULTS, ALL])
    one_of("dataset", dataset, datasets.names())
    kind = "mnist" if dataset == "digits" else dataset
    possible = [name for name in RESULTS if _OF_ONE_DATASET.get(name, kind) == kind]
    if what != ALL and what not in possible:
        raise InputError("what", expected=f"one of {', '.join([*possible, ALL])} for {dataset}", received=repr(what))
    return [name for name in possible if name not in (_CLAIMS, _SELECTION)] if what == ALL else [what]


def write_index(folder: Path) -> None:
    """Write README.md: the claims of every data set that has them, and links to all pages."""
    pages = sorted(path for path in folder.glob("*_*.md") if path.name.partition("_")[0] in datasets.names())
    texts = {path: path.read_text(encoding="utf-8").strip() for path in pages}
    links = [f"- [{text.splitlines()[0].removeprefix('# ')}]({path.name})" for path, text in texts.items()]
    found = [text for path, text in texts.items() if path.stem.endswith("_claims")]
    blocks = ["# The paper's tables and claims, measured again", _ABOUT, "\n".join(links)]
    blocks += ["\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines()) for text in found]
    files.write(folder / "README.md", "\n\n".join(blocks) + "\n")


_ABOUT = (
    'Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness" (2021), '
    "beside what this package measures on its own networks. Written by `python scripts/reproduce.py`; the "
    "verdicts and remarks are by hand, in `remarks/`, with the numbers put in by the command."
)


def _command(name: str, dataset: str, options: Mapping[str, Any]) -> str:
    """Return the command that makes a result, without the folders, on which it does not depend."""
    given = [f"--{option} {value}" for option, value in options.items() if value is not None]
    return " ".join([f"python scripts/reproduce.py {name} --dataset {dataset}", *given])
