"""The pictures of the paper's results, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from research.paper.study import WORST_CASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from research.paper.figure import Point
    from research.paper.plans import PlanScore
    from research.paper.selection import Score

# Okabe and Ito's colours: told apart by colour-blind readers.
_COLORS = {"orig": "#0072B2", "adv": "#D55E00", "fl": "#009E73"}
_KINDS = {"uniform": ("s", "#0072B2"), "Algorithm 1": ("^", "#D55E00"), "random": ("o", "#009E73")}
_SELECTED = {
    "float32": ("*", "#000000"),
    "linear": ("s", "#0072B2"),
    "log": ("v", "#56B4E9"),
    "kmeans": ("D", "#CC79A7"),
    "clipped": ("h", "#F0E442"),
    "policy": ("o", "#009E73"),
    "recalibrated": ("P", "#E69F00"),
    "corrected": ("X", "#56B4E9"),
    "fine-tuned": ("^", "#D55E00"),
}
_OTHER_QUANTIZER = ("d", "#999999")
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


def draw_front(images: str, scores: Sequence[Score], best: Sequence[bool]) -> bytes:
    """Draw the worst case of quantized networks against their size, and join those that none beats."""
    figure, panels = _panels(7.5, 4.6, ["front"])
    axes = panels["front"]
    front = sorted((s.bytes / 1000, 100 * s.share(WORST_CASE).value) for s, on in zip(scores, best, strict=True) if on)
    axes.step(*zip(*front, strict=True), where="post", color="#888888", linewidth=1.0, label="none beats these")
    for kind in dict.fromkeys(score.candidate.kind for score in scores):
        shown = [score for score in scores if score.candidate.kind == kind]
        shares = [score.share(WORST_CASE) for score in shown]
        heights = [100 * share.value for share in shares]
        ends = [[abs(100 * s.interval[side] - 100 * s.value) for s in shares] for side in (0, 1)]
        marker, color = _SELECTED.get(kind, _OTHER_QUANTIZER)
        sizes = [score.bytes / 1000 for score in shown]
        axes.errorbar(sizes, heights, ends, fmt=marker, color=color, markersize=5, elinewidth=0.7, label=kind)
    for score, on in zip(scores, best, strict=True):
        share = score.share(WORST_CASE)
        if on and share.successes:
            place = score.bytes / 1000, 100 * share.value
            axes.annotate(score.candidate.name, place, (2, 6), textcoords="offset points", fontsize=7, rotation=40)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("kB of weights")
    axes.set_ylabel("worst case (%)")
    axes.set_ylim(-3, 110)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{images}: size and worst case, N = {scores[0].share(WORST_CASE).count}", fontsize=11)
    return _png(figure)


def _panels(width: float, height: float, names: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color="#dddddd", linewidth=0.7)
        each.set_axisbelow(True)
    return figure, dict(zip(names, axes, strict=True))


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
