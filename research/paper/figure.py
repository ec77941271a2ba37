"""Figure 1: clean accuracy against the bits of uniform quantization, for networks trained in different ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import tf_laq as laq
from research.pages import Result, Section, markdown_table
from research.paper import reference
from research.paper.facts import facts_of, named
from research.paper.roles import Network
from research.paper.study import Study
from research.statistics import share
from tf_laq.datasets import Split
from tf_laq.evaluation import Correct, Share
from tf_laq.report import PALETTE, panels, png

ROLES = ("orig", "adv", "fl")
QUANTIZERS = ("linear", "log")
BITS = range(1, 9)
FLOAT = "float32"
# Tables 3 and 4 have points of the figure, which is printed without numbers.
_PRINTED = {"adv float32": "adv", "adv linear 3": "q1", "adv log 3": "q2"}
_BATCH = 500
_COLORS = {"orig": PALETTE["blue"], "adv": PALETTE["vermilion"], "fl": PALETTE["green"]}
_ABOUT = "Clean accuracy in %, with its 95 % Wilson interval, under uniform quantization."
_HEADERS = (
    "dataset", "network", "quantizer", "bits", "accuracy_percent", "lower", "upper", "correct", "count",
    "paper_percent",
)  # fmt: skip


class CurvePoint(NamedTuple):
    """A point of the figure: `quantizer` and `bits` are "float32" and 32 at full precision."""

    role: str
    quantizer: str
    bits: int
    share: Share
    paper: float | None


def settings() -> Iterator[tuple[str, int]]:
    """Yield all settings of the figure: quantizer and bits."""
    yield FLOAT, 32
    for quantizer in QUANTIZERS:
        yield from ((quantizer, bits) for bits in BITS)


def bits_figure(study: Study, command: str) -> Result:
    """Return Figure 1 with its numbers."""
    points = [point for role in ROLES if role in study.networks.trained for point in _points(study, role)]
    roles = list(dict.fromkeys(point.role for point in points))
    table: dict[tuple[str, int], list[object]] = {(name, bits): [name, bits] for name, bits in settings()}
    for point in points:
        table[point.quantizer, point.bits] += [point.share, point.paper]
    headers = ["quantizer", "bits", *(text for role in roles for text in (role, "paper"))]
    by_setting = [(_setting(point.quantizer, point.bits), point) for point in points]
    values = {f"{p.role}.{name.replace(' ', '.')}": f"{100 * p.share.value:.1f}" for name, p in by_setting}
    printed = {name: point.paper for name, point in by_setting if point.paper is not None}
    body = f"{_ABOUT}\n\n{markdown_table(headers, list(table.values()))}"
    return Result(
        name=f"{study.name}_figure1",
        title=f"Figure 1: {named(study)}, clean accuracy by bits",
        sections=[Section("", body, f"{study.name}_figure1")],
        facts=[
            f"The first {points[0].share.count} test images.",
            "The paper prints this figure without numbers; those of Tables 3 and 4 stand for its three points there: "
            f"{', '.join(f'{name} {value:.1f}' for name, value in printed.items())}."
            if printed
            else "The paper has no numbers for this data set.",
            *facts_of(study, command, roles=ROLES),
        ],
        values=values,
        headers=_HEADERS,
        rows=[_record(study.dataset, point) for point in points],
        picture=_draw(named(study), points),
    )


def bits_curve(study: Study, role: str) -> Mapping[str, Correct]:
    """Return where the network in a role is right under each setting: "float32", "linear 3" and so on."""
    count, network = min(study.settings.clean_examples, len(study.data)), study.networks.trained[role]
    shown = Split(study.data.images[:count], study.data.labels[:count])

    def make() -> dict[str, Correct]:
        study.announce(f"clean accuracy by bits: {role}, {count} images")
        return dict(_measured(network, shown))

    facts = {"network": network.sha256, "images": shown.sha256, "settings": list(settings())}
    return study.cache.arrays(f"{study.dataset}-curve-{role}", facts, make)


def _measured(network: Network, shown: Split) -> Iterator[tuple[str, Correct]]:
    plans = (
        None if name == FLOAT else laq.uniform(network.model, name, bits, progress=False) for name, bits in settings()
    )
    bar = tqdm(settings(), network.name, unit="setting", total=1 + len(QUANTIZERS) * len(BITS), disable=None)
    for (name, bits), quantized in zip(bar, network.in_turn(plans), strict=True):
        batches = (shown.images[start : start + _BATCH] for start in range(0, len(shown), _BATCH))
        predicted = [np.argmax(quantized.logits(tf.constant(batch)), axis=1) for batch in batches]
        yield _setting(name, bits), np.concatenate(predicted) == shown.labels


def _points(study: Study, role: str) -> Iterator[CurvePoint]:
    curve = bits_curve(study, role)
    table = {"mnist": 3, "cifar10": 4}.get(study.dataset, 0)
    for name, bits in settings():
        right = curve[_setting(name, bits)]
        model = _PRINTED.get(f"{role} {_setting(name, bits)}", "")
        paper = reference.accuracy(table, study.dataset, model, "clean", "none")
        yield CurvePoint(role, name, bits, share(right), paper)


def _setting(name: str, bits: int) -> str:
    return FLOAT if name == FLOAT else f"{name} {bits}"


def _draw(images: str, points: Sequence[CurvePoint]) -> bytes:
    """Draw a panel per quantizer, a line per role, and the paper's printed points as crosses."""
    figure, found = panels(9.0, 3.8, len(QUANTIZERS))
    for name, axes in zip(QUANTIZERS, found, strict=True):
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
    found[0].set_ylabel("accuracy (%)")
    return png(figure)


def _record(dataset: str, point: CurvePoint) -> list[object]:
    found = point.share
    percent = (f"{100 * value:.2f}" for value in (found.value, *found.interval))
    return [dataset, point.role, point.quantizer, point.bits, *percent, found.successes, found.count, point.paper]
