"""The paper's printed numbers, from the CSV files beside this module."""

from __future__ import annotations

import csv
import functools
from importlib import resources

from research.statistics import Spread
from research.validation import one_of

# The paper's names for what is called otherwise here.
_COLUMNS = {"uniform": "random"}
_UNIFORM_TABLES = (1, 2)


def accuracy(table: int, dataset: str, model: str, column: str, knowledge: str) -> float | None:
    """Return an accuracy of Tables 1 to 4 in percent, or None where the paper has none.

    Args:
        table: Number of the table.
        dataset: "mnist" or "cifar10"; there is nothing for others.
        model: "adv", "q1", "q2" or "lq"; `q1` stands for the `q` of Tables 1 and 2 (see SOURCE.md).
        column: Name of the battery's column; "uniform" is the paper's random noise.
        knowledge: "none", "gray" or "white".

    Example:
        >>> accuracy(3, "mnist", "lq", "pgd", "white"), accuracy(1, "mnist", "q1", "clean", "none")
        (82.4, 42.69)
    """
    model = "q" if (table in _UNIFORM_TABLES and model == "q1") else model
    return _accuracies().get((table, dataset, model, _COLUMNS.get(column, column), knowledge))


def norms(dataset: str, model: str, quantity: str) -> Spread | None:
    """Return a mean and standard deviation of Table 5, or None where the paper has none.

    Args:
        dataset: "mnist" or "cifar10"; there is nothing for others.
        model: "q2" or "lq".
        quantity: "L_Wq" for ||W_q||, "L_dW" for ||W - W_q||.

    Example:
        >>> print(norms("mnist", "lq", "L_dW"))
        0.91 ± 0.74
    """
    one_of("quantity", quantity, ("L_Wq", "L_dW"))
    rows = _rows("reference_lipschitz.csv")
    found = [row for row in rows if (row["dataset"], row["model"], row["quantity"]) == (dataset, model, quantity)]
    return Spread(float(found[0]["mean"]), float(found[0]["std"])) if found else None


def layer_bits(dataset: str) -> list[int]:
    """Return the bits of the layers, in order, that the paper's search ended with (section 6.1); [] for other data.

    Example:
        >>> layer_bits("mnist")
        [3, 3, 4, 3]
    """
    return [int(row["bits"]) for row in _rows("reference_plans.csv") if row["dataset"] == dataset]


@functools.cache
def _accuracies() -> dict[tuple[int, str, str, str, str], float]:
    return {
        (int(row["table"]), row["dataset"], row["model"], row["attack"], row["knowledge"]): float(
            row["accuracy_percent"]
        )
        for row in _rows("reference_accuracy.csv")
    }


@functools.cache
def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("research.paper").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
