"""The figures of a report, as PNG files: drawn without a display and without pyplot's global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from tf_laq._internal.optional import of_extra
from tf_laq.attacks.battery import KNOWLEDGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_laq.evaluation import AccuracyCurve, RobustnessReport, Share

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

_COLORS = tuple(PALETTE.values())
_HIGHLIGHT = "#fff1d6"
_WORST_CASE = "worst case"


def draw_accuracy(report: RobustnessReport) -> bytes:
    """Return a PNG picture of the accuracy of every model under every attack, and of the worst cases."""
    return png(_robust_accuracy(report))


def draw_curve(curve: AccuracyCurve) -> bytes:
    """Draw accuracy against epsilon, one line per model within its 95 % intervals, as PNG bytes."""
    figure, (axes,) = panels(6.4, 4.2)
    for index, model in enumerate(curve.broken_at):
        shares = [curve.accuracy(model, epsilon) for epsilon in curve.epsilons]
        color = _COLORS[index % len(_COLORS)]
        axes.plot(curve.epsilons, [100 * s.value for s in shares], marker="o", markersize=4, label=model, color=color)
        lower, upper = ([100 * share.interval[end] for share in shares] for end in (0, 1))
        axes.fill_between(curve.epsilons, lower, upper, color=color, alpha=0.15, linewidth=0)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 105)
    axes.set_xlabel(f"epsilon ({curve.attack.norm}, pixel units)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"Accuracy under {curve.attack.name} by epsilon, N = {curve.count}, 95 % intervals")
    axes.legend(frameon=False)
    return png(figure)


def _robust_accuracy(report: RobustnessReport) -> Figure:
    """Bars of the accuracy of every model in every column, at the lowest knowledge, then the worst case."""
    groups = [*report.battery.names, _WORST_CASE]
    figure, (axes,) = panels(1.3 + 1.05 * len(groups), 4.6)
    axes.axvspan(len(groups) - 1.5, len(groups) - 0.5, color=_HIGHLIGHT, zorder=0)
    width = 0.8 / len(report.models)
    for index, model in enumerate(report.models):
        lowest = [*(_lowest(report, model, column) for column in report.battery.names), report.worst_case(model)]
        shares = {group: share for group, share in enumerate(lowest) if share is not None}
        heights = [100 * share.value for share in shares.values()]
        ends = [share.interval for share in shares.values()]
        below = [max(0.0, height - 100 * lower) for height, (lower, _) in zip(heights, ends, strict=True)]
        above = [max(0.0, 100 * upper - height) for height, (_, upper) in zip(heights, ends, strict=True)]
        places = [group + (index - (len(report.models) - 1) / 2) * width for group in shares]
        axes.bar(
            places,
            heights,
            width * 0.92,
            yerr=[below, above],
            label=model,
            color=_COLORS[index % len(_COLORS)],
            error_kw={"elinewidth": 0.9, "capsize": 2, "ecolor": "#333333"},
            zorder=2,
        )
    axes.set_xticks(range(len(groups)), [group.replace("_", " ") for group in groups], rotation=25, ha="right")
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(0, 105)
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"Accuracy under attack, N = {report.count}, 95 % intervals")
    figure.legend(ncols=len(report.models), loc="outside lower center", frameon=False)
    return figure


def _lowest(report: RobustnessReport, model: str, column: str) -> Share | None:
    """Return the accuracy in a column, gray-box or white-box, whichever is lower; None for an empty cell."""
    present = {o.knowledge for o in report.outcomes if (o.model, o.column) == (model, column)}
    return min(
        (report.accuracy(model, column, knowledge) for knowledge in KNOWLEDGE if knowledge in present),
        key=lambda share: share.value,
        default=None,
    )


def panels(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure in the style of all figures, with panels side by side that share their y axis.

    Args:
        width: Of the figure, in inches.
        height: The same.
        columns: Number of panels.
    """
    with of_extra("report"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    found: list[Axes] = list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, found


def png(figure: Figure, *, dpi: int = 150) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()
