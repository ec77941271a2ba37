"""The pictures of the paper's results, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_laq.paper.figure import Point
    from tf_laq.paper.plans import PlanScore

# Okabe and Ito's colours: told apart by colour-blind readers.
_COLORS = {"orig": "#0072B2", "adv": "#D55E00", "fl": "#009E73"}
_KINDS = {"uniform": ("s", "#0072B2"), "Algorithm 1": ("^", "#D55E00"), "random": ("o", "#009E73")}
_STYLES = {"linear": "-", "log": "--"}


def draw_bits(images: str, points: Sequence[Point]) -> bytes:
    """Draw clean accuracy against bits, a panel per quantizer, and the paper's printed points as crosses."""
    figure, panels = _panels(9.0, 3.8, list(_STYLES))
    for name, axes in panels.items():
        for role in dict.fromkeys(point.role for point in points):
            line = [point for point in points if (point.role, point.quantizer) == (role, name)]
            full = next(point.share.value for point in points if (point.role, point.bits) == (role, 32))
            bits, color = [point.bits for point in line], _COLORS[role]
            ends = [point.share.interval for point in line]
            axes.axhline(100 * full, color=color, linewidth=0.8, linestyle=":")
            axes.plot(bits, [100 * p.share.value for p in line], marker="o", markersize=4, color=color, label=role)
            lower, upper = ([100 * end[place] for end in ends] for place in (0, 1))
            axes.fill_between(bits, lower, upper, color=color, alpha=0.15, linewidth=0)
            printed = [(point.bits, point.paper) for point in line if point.paper is not None]
            if printed:
                axes.plot(*zip(*printed, strict=True), "x", color=color, markersize=8, label=f"{role}, paper")
        axes.set_title(f"{name} (dotted: full precision)", fontsize=10)
        axes.set_xlabel("bits")
        axes.set_ylim(0, 105)
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    figure.suptitle(f"{images}: clean accuracy, N = {points[0].share.count}, 95 % intervals", fontsize=11)
    next(iter(panels.values())).set_ylabel("accuracy (%)")
    return _png(figure)


def draw_scores(images: str, scores: Sequence[PlanScore], columns: dict[str, str]) -> bytes:
    """Draw the accuracy of plans against the sum of their error norms, a panel per column with its title."""
    figure, panels = _panels(9.0, 3.8, list(columns))
    for column, axes in panels.items():
        for kind, (marker, color) in _KINDS.items():
            shown = [score for score in scores if score.kind == kind]
            heights = [100 * score.share(column).value for score in shown]
            axes.plot([score.sum_error for score in shown], heights, marker, color=color, markersize=5, label=kind)
        axes.set_xscale("log")
        axes.set_title(columns[column], fontsize=10)
        axes.set_xlabel("sum over layers of ‖W - W_q‖")
        axes.set_ylim(-3, 105)
    first = next(iter(panels.values()))
    first.set_ylabel("accuracy (%)")
    first.legend(frameon=False, loc="lower left", fontsize=8)
    figure.suptitle(f"{images}: {len(scores)} plans of one network", fontsize=11)
    return _png(figure)


def _panels(width: float, height: float, names: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color="#dddddd", linewidth=0.7)
        each.set_axisbelow(True)
    return figure, dict(zip(names, axes, strict=True))


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
