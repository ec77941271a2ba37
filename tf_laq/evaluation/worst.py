"""The worst example of each image: of all that a model was shown, the one that it is least right about."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.evaluation.examples import Answers, Examples, Rows
from tf_laq.evaluation.tasks import Cell


class WorstExamples:
    """Collects the examples that a model is shown and keeps, per image, the one with the lowest margin.

    The arrays are the fields of `AdversarialExamples` that an attack decides.

    Args:
        data: The clean images.
        clean: What the model says about them.
        names: Lengths of the texts: the names of all columns and kinds of knowledge.
    """

    def __init__(self, data: Examples, clean: Answers, names: list[str]) -> None:
        text = f"<U{max(map(len, names))}"
        count = len(data.images)
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "images": data.images.copy(),
            "margins": np.full(count, np.inf, np.float32),
            "predicted": clean.predicted.astype(np.int64),
            "clean_predicted": clean.predicted.astype(np.int64),
            "columns": np.full(count, "", text),
            "knowledge": np.full(count, "", text),
        }

    def show(self, cell: Cell, images: npt.NDArray[np.float32], answers: Answers, rows: Rows) -> None:
        """Keep those of the examples at these rows that are worse than all before."""
        rows = rows[answers.margins[rows] < self.arrays["margins"][rows]]
        self.arrays["images"][rows] = images[rows]
        self.arrays["margins"][rows] = answers.margins[rows]
        self.arrays["predicted"][rows] = answers.predicted[rows]
        self.arrays["columns"][rows] = cell.column
        self.arrays["knowledge"][rows] = cell.knowledge
