"""The losses against each predictor, as a PNG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from research.layer_study.predictors import PREDICTORS
from research.layer_study.ranking import Rank
from research.layer_study.studying import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_MARKERS = "os^Dv<>pPX"
# Okabe and Ito's colours, told apart by colour-blind readers; more layers than these get a colour by depth.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw(title: str, points: Sequence[Point], found: Sequence[Rank]) -> bytes:
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
        _scatter(axes, points, rank)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("images lost (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=8, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _scatter(axes: Axes, points: Sequence[Point], rank: Rank) -> None:
    values = [point.predictors[rank.predictor] for point in points]
    for key, color, marker, label in _groups(points):
        rows = [row for row, point in enumerate(points) if (point.place, point.quantizer.name) == key]
        heights = [100 * points[row].loss.lost().value for row in rows]
        axes.plot([values[row] for row in rows], heights, marker, color=color, markersize=4, alpha=0.8, label=label)
    if min(values) > 0:
        axes.set_xscale("log")
    strength = "" if rank.overall is None else f": {rank.overall.value:.2f}"
    axes.set_title(f"{PREDICTORS[rank.predictor].about}{strength}", fontsize=8)
    axes.tick_params(which="both", labelsize=6)
    axes.set_ylim(-3, 103)
    axes.spines[["top", "right"]].set_visible(False)


def _groups(points: Sequence[Point]) -> list[tuple[tuple[int, str], Any, str, str | None]]:
    """Return place and quantizer of each group of points, with their colour, marker, and label in the legend."""
    from matplotlib import colormaps

    layers = {point.place: point.tensor.layer for point in points}
    methods = list(dict.fromkeys(point.quantizer.name for point in points))
    few = len(layers) <= len(_COLORS)
    depth = colormaps["viridis"](np.linspace(0, 1, len(layers)))
    ends = (min(layers), max(layers))
    groups = []
    for number, (place, layer) in enumerate(layers.items()):
        for method in methods:
            shown = few or place in ends
            label = f"{layer}, {method}" if shown else None
            marker = _MARKERS[methods.index(method) % len(_MARKERS)]
            groups.append(((place, method), _COLORS[number] if few else depth[number], marker, label))
    return groups
