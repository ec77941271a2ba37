"""The leaderboard, `python -m research.leaderboard`: trained networks and their quantized forms, by worst case.

It measures nothing. Its figures are those of the cards in saved_models/, of the tables that choose bits in
docs/results/paper, and of docs/results/autoattack.csv.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from research import files
from research.checks.autoattack import earlier
from research.checks.program import SAVED_MODELS, argument_parser
from research.pages import markdown_table
from tf_laq.evaluation import Share
from tf_laq.models import CARD, Card

TITLES = {"mnist": "MNIST, L-inf 0.3", "cifar10": "CIFAR-10 (JPEG copy), L-inf 8/255"}
SELECTIONS = {
    "mnist_adv": "mnist_selection",
    "mnist_madry_adv": "mnist_madry_selection",
    "mnist_separable_adv": "mnist_separable_selection",
    "cifar10_adv": "cifar10_selection",
    "cifar10_wrn4_adv": "cifar10_wrn4_selection",
}
"""The page of results that a network was quantized for."""

_FULL_PRECISION = "float32"
_KINDS = (_FULL_PRECISION, "policy", "textures", "matched", "fine-tuned")
_IN_FULL = "the attacks of the table"
_WORST = "worst case"
_WORDS = {"adv": "full precision", "lq": "Algorithm 1"}
_AFTER = {"ft": "fine-tuned", "sm": "statistics matched", "tx": "statistics matched on noise"}

PAGE = """# Leaderboard

The trained networks of this repository, and what quantization leaves of them, by their worst case: the percentage of
the test images that a network gets right whatever attack was tried. It measures nothing itself; every row stands on a
card in [saved_models](../../saved_models/README.md) and, if quantized, on a table under [Choosing
bits](paper/README.md), which says what its plan is. The bits are the average over all quantized weights. The bytes are
those of the codes, and float32 for the rest. AutoAttack's figures are from [its page](autoattack.md), where it attacked
a network. Intervals are 95 % Wilson intervals, and rows whose intervals overlap may change places on other images. What
was attacked on fewer images, or by fewer attacks, is flattered by that: look at N and at the column "attacks", whose
numbers are explained below the tables. A network without a worst case has no place.

{sections}

## The attacks

{attacks}

## Adding a network of your own

1. Train it with `laq train`, or save it as a Keras file with logits as outputs, beside the record and the log that
   `laq train` writes.
2. `python -m research.checks.cards NAME --model adv.keras --about "what it is" --minutes 30 --command "laq train ..."`
   attacks it, puts it into `saved_models/NAME` and writes its card: the recipe, the seed, the command that trains it
   again, the scores, and the SHA-256 of the weights. Loading a network whose weights have another checksum is an error.
3. `python -m research.leaderboard` writes this page again, with its row.

A quantized form gets in by `python scripts/reproduce.py selection`, which quantizes and attacks a network.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A network in a form.

    Attributes:
        network: Name of its card.
        form: How its weights are stored, in words.
        bits: Average bits a weight.
        size: Bytes; None if no table has them.
        clean: Percentage that is right without an attack, as text.
        withstood: The share under attack; None if it was not attacked.
        attacks: What attacked it.
        autoattack: The share under AutoAttack, if it is known.
        sha256: Of the file of weights.
    """

    network: str
    form: str
    bits: float
    size: int | None
    clean: str
    withstood: Share | None
    attacks: str
    autoattack: Share | None
    sha256: str

    @property
    def is_ranked(self) -> bool:
        """Whether a worst case is known."""
        return self.withstood is not None and (self.attacks == _IN_FULL or self.attacks.startswith(_WORST))


def rows_of(card: Card, results: Path) -> Iterator[Row]:
    """Give the rows of a network: one by its card, or those of the table that it was quantized for."""
    if card.name not in SELECTIONS:
        attacked = next((score for score in card.scores if score["attack"] != "none"), None)
        yield Row(
            network=card.name,
            form=_WORDS["adv"],
            bits=32.0,
            size=None,
            clean=f"{100 * (card.clean_accuracy or 0.0):.1f}",
            withstood=_share(attacked) if attacked else None,
            attacks=attacked["attack"] if attacked else "",
            autoattack=None,
            sha256=card.sha256,
        )
        return
    page = SELECTIONS[card.name]
    # AutoAttack ran on the networks of the pages that are called after their data set.
    known = earlier(results) if page == f"{card.dataset}_selection" else {}
    with (results / "paper" / f"{page}.csv").open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["kind"] not in _KINDS:
                continue
            autoattack = known.get((card.dataset, line["network"]))
            count = int(line["count"])
            yield Row(
                network=card.name,
                form=_form(line["network"]),
                bits=float(line["average_bits"]),
                size=int(line["bytes"]),
                clean=f"{float(line['clean_percent']):.1f}",
                withstood=Share(round(float(line["worst_case_percent"]) * count / 100), count),
                attacks=_IN_FULL,
                autoattack=autoattack.share if autoattack else None,
                sha256=card.sha256,
            )


def page(cards: Iterable[Card], results: Path) -> str:
    """Return the leaderboard of these networks, with the figures in a folder of results."""
    by_dataset: dict[str, list[Row]] = {}
    for card in cards:
        by_dataset.setdefault(card.dataset, []).extend(rows_of(card, results))
    everything = [row for rows in by_dataset.values() for row in rows]
    attacks = [_IN_FULL, *sorted({row.attacks for row in everything} - {_IN_FULL, ""})]
    sections = [
        f"## {TITLES.get(dataset, dataset)}\n\n{_table(rows, attacks)}"
        for dataset, rows in sorted(by_dataset.items())[::-1]
    ]
    described = [
        "PGD and the other white-box attacks of the paper, Square with 5,000 queries (1,000 where N is 100), and "
        "Auto-PGD, untargeted and targeted; the pages under [Choosing bits](paper/README.md) have their settings.",
        *(f"{attack}." for attack in attacks[1:]),
    ]
    numbered = "\n".join(f"{number}. {attack}" for number, attack in enumerate(described, 1))
    return PAGE.format(sections="\n\n".join(sections), attacks=numbered)


def _table(rows: Sequence[Row], attacks: Sequence[str]) -> str:
    ranked = sorted((row for row in rows if row.is_ranked), key=lambda row: (-_value(row), row.size or sys.maxsize))
    others = [row for row in rows if not row.is_ranked]
    cells = []
    for place, row in [*enumerate(ranked, 1), *((None, row) for row in others)]:
        withstood = "not measured" if row.withstood is None else f"{row.withstood}, N = {row.withstood.count:,}"
        cells.append(
            [
                place,
                f"`{row.network}`",
                row.form,
                f"{row.bits:.2f}",
                None if row.size is None else f"{row.size:,}",
                row.clean,
                withstood,
                attacks.index(row.attacks) + 1 if row.attacks else None,
                None if row.autoattack is None else str(row.autoattack),
                f"`{row.sha256[:8]}`",
            ]
        )
    headers = ["", "network", "weights", "bits", "bytes", "clean", "worst case", "attacks", "AutoAttack", "SHA-256"]
    return markdown_table(headers, cells)


def _value(row: Row) -> float:
    return row.withstood.value if row.withstood else 0.0


def _share(score: Mapping[str, Any]) -> Share:
    return Share(round(score["accuracy"] * score["count"]), score["count"])


def _form(name: str) -> str:
    """Return what a row of a table is called, in words.

    Example:
        >>> _form("lq"), _form("budget-3+ft")
        ('Algorithm 1', '`budget-3`, fine-tuned')
    """
    plan, *after = name.split("+")
    return ", ".join([_WORDS.get(plan, f"`{plan}`"), *(_AFTER[step] for step in after)])


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    options = argument_parser(__doc__).parse_args(argv)
    cards = [Card.load(path) for path in sorted(SAVED_MODELS.glob(f"*/{CARD}"))]
    files.write(options.results / "leaderboard.md", page(cards, options.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
