"""What the attacks did to a part of the examples, and the parts together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.evaluation.report import Correct, Outcome
from tf_laq.evaluation.tasks import Cell

Distortions = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class PartResult:
    """The outcomes of a part of the examples, or of all.

    Attributes:
        correct: Per cell of the table, where the model was right.
        distortions: Per white-box cell of a minimum-norm attack, the distortions of the examples that the model
            gets right without an attack.
        excess: Per model, how far an image that it was shown lies outside of its ball or [0, 1], in pixel units.
    """

    correct: Mapping[Cell, Correct]
    distortions: Mapping[Cell, Distortions]
    excess: Mapping[str, float]

    @classmethod
    def joined(cls, parts: Sequence[PartResult]) -> PartResult:
        """Return the parts, in the order of their examples, as one."""
        first = parts[0]
        return cls(
            {cell: np.concatenate([part.correct[cell] for part in parts]) for cell in first.correct},
            {cell: np.concatenate([part.distortions[cell] for part in parts]) for cell in first.distortions},
            {model: max(part.excess[model] for part in parts) for model in first.excess},
        )

    def surviving(self, model: str) -> Correct:
        """Return where a model was right under every attack."""
        found = [correct for cell, correct in self.correct.items() if cell.model == model]
        together: Correct = np.logical_and.reduce(found)
        return together

    def outcomes(self, cells: Sequence[Cell]) -> tuple[Outcome, ...]:
        """Return the outcomes of these cells, in their order."""
        medians = {cell: _median(found) for cell, found in self.distortions.items()}
        return tuple(
            Outcome.record(self.correct[cell], **cell._asdict(), median_distortion=medians.get(cell)) for cell in cells
        )

    def to_arrays(self, cells: Sequence[Cell], models: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the result as arrays under names that count the cells; `from_arrays` reads them back."""
        arrays: dict[str, npt.NDArray[Any]] = {"excess": np.array([self.excess[model] for model in models])}
        for number, cell in enumerate(cells):
            arrays[f"cell{number}.correct"] = self.correct[cell]
            if cell in self.distortions:
                arrays[f"cell{number}.distortions"] = self.distortions[cell]
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], cells: Sequence[Cell], models: Sequence[str]
    ) -> PartResult:
        """Build the result from what `to_arrays` returned for the same cells and models."""
        named = {cell: f"cell{number}" for number, cell in enumerate(cells)}
        return cls(
            {cell: arrays[f"{name}.correct"] for cell, name in named.items()},
            {c: arrays[f"{name}.distortions"] for c, name in named.items() if f"{name}.distortions" in arrays},
            dict(zip(models, arrays["excess"].tolist(), strict=True)),
        )


def _median(distortions: Distortions) -> float | None:
    median = float(np.median(distortions)) if distortions.size else np.inf
    return median if np.isfinite(median) else None
