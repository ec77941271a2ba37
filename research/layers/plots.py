"""The losses against each predictor, as a PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from research.layers.predictors import PREDICTORS
from research.layers.ranking import Rank
from research.layers.studying import Trial
from tf_laq.report import PALETTE, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_MARKERS = "os^Dv<>pPX"
# More layers than these get a colour by depth.
_COLORS = [PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky")]


def draw(title: str, trials: Sequence[Trial], found: Sequence[Rank]) -> bytes:
    """Draw one scatter per predictor, the best first: a colour per layer, a marker per quantizer."""
    from matplotlib.figure import Figure

    rows = -(-len(found) // _COLUMNS)
    # Margins in inches: a layout engine takes longer for so many panels than all the drawing.
    width, height = 3.2 * _COLUMNS, 2.6 * rows + 1.2
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.6 / width, 0.8 / height, 1 - 0.1 / width, 1 - 0.7 / height, wspace=0.08, hspace=0.35)
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).ravel()
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    for axes, rank in zip(panels, found, strict=False):
        _scatter(axes, trials, rank)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("images lost (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=8, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return png(figure, dpi=110)


def _scatter(axes: Axes, trials: Sequence[Trial], rank: Rank) -> None:
    values = [trial.predictors[rank.predictor] for trial in trials]
    for key, color, marker, label in _groups(trials):
        rows = [row for row, trial in enumerate(trials) if (trial.place, trial.quantizer.name) == key]
        heights = [100 * trials[row].loss.lost().value for row in rows]
        axes.plot([values[row] for row in rows], heights, marker, color=color, markersize=4, alpha=0.8, label=label)
    if min(values) > 0:
        axes.set_xscale("log")
    strength = "" if rank.overall is None else f": {rank.overall.value:.2f}"
    axes.set_title(f"{PREDICTORS[rank.predictor].about}{strength}", fontsize=8)
    axes.tick_params(which="both", labelsize=6)
    axes.set_ylim(-3, 103)
    axes.spines[["top", "right"]].set_visible(False)


def _groups(trials: Sequence[Trial]) -> list[tuple[tuple[int, str], Any, str, str | None]]:
    """Return place and quantizer of each group of trials, with their colour, marker, and label in the legend."""
    from matplotlib import colormaps

    layers = {trial.place: trial.tensor.layer for trial in trials}
    quantizers = list(dict.fromkeys(trial.quantizer.name for trial in trials))
    few = len(layers) <= len(_COLORS)
    depth = colormaps["viridis"](np.linspace(0, 1, len(layers)))
    ends = (min(layers), max(layers))
    groups = []
    for number, (place, layer) in enumerate(layers.items()):
        for quantizer in quantizers:
            shown = few or place in ends
            label = f"{layer}, {quantizer}" if shown else None
            marker = _MARKERS[quantizers.index(quantizer) % len(_MARKERS)]
            groups.append(((place, quantizer), _COLORS[number] if few else depth[number], marker, label))
    return groups
