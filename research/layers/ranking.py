"""How well each predictor ranks the losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from research.layers.predictors import PREDICTORS
from research.layers.studying import Trial
from research.statistics import Correlation, spearman


@dataclasses.dataclass(frozen=True)
class Rank:
    """How a predictor ranks the losses, by Spearman's rank correlation.

    Attributes:
        predictor: Its name.
        overall: Over all settings, with the bootstrap interval over settings: too narrow, since the settings of a
            layer are not independent.
        clustered: The same with the bootstrap interval over whole layers.
        within: Mean over layers of the correlation over a layer's settings: does it see when bits are too few?
        across: Mean over settings of the correlation over layers: does it see which layer needs the bits?

    Each is None where nothing varies.
    """

    predictor: str
    overall: Correlation | None
    clustered: Correlation | None
    within: float | None
    across: float | None


def ranks(trials: Sequence[Trial], *, seed: int = 0) -> list[Rank]:
    """Return the rank of every predictor, the best first."""
    losses = [trial.loss.lost().value for trial in trials]
    layers = [trial.place for trial in trials]
    settings = [(trial.quantizer.name, trial.quantizer.bits) for trial in trials]
    found = []
    for name in PREDICTORS:
        values = [trial.predictors[name] for trial in trials]
        found.append(
            Rank(
                name,
                spearman(values, losses, seed=seed),
                spearman(values, losses, groups=layers, seed=seed),
                _mean(values, losses, layers),
                _mean(values, losses, settings),
            )
        )
    return sorted(found, key=lambda rank: -rank.overall.value if rank.overall else np.inf)


def _mean(values: Sequence[float], losses: Sequence[float], groups: Sequence[Hashable]) -> float | None:
    found = [each.value for each in _by_group(values, losses, groups) if each is not None]
    return float(np.mean(found)) if found else None


def _by_group(
    values: Sequence[float], losses: Sequence[float], groups: Sequence[Hashable]
) -> Iterator[Correlation | None]:
    for group in dict.fromkeys(groups):
        rows = [row for row, each in enumerate(groups) if each == group]
        if len(rows) > 1:
            yield spearman([values[row] for row in rows], [losses[row] for row in rows])
