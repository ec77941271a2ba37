"""Figure 1: clean accuracy against the bits of uniform quantization, for networks trained in different ways."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from research.paper import reference
from research.paper.facts import facts_of, named
from research.paper.networks import Network
from research.paper.plots import draw_bits
from research.paper.study import Study
from research.paper.writing import Result, Section, markdown_table
from tf_laq import api, quantizers
from tf_laq._internal import archives
from tf_laq._internal.documents import Document
from tf_laq.attacks.base import Images, Labels
from tf_laq.evaluation import Correct, Outcome, Share
from tf_laq.version import __version__

ROLES = ("orig", "adv", "fl")
QUANTIZERS = ("linear", "log")
BITS = range(1, 9)
FLOAT = "float32"
# Tables 3 and 4 have points of the figure, which is printed without numbers.
_PRINTED = {"adv float32": "adv", "adv linear 3": "q1", "adv log 3": "q2"}
_BATCH = 500
_ABOUT = "Clean accuracy in %, with its 95 % Wilson interval, under uniform quantization."
_HEADERS = (
    "dataset", "network", "quantizer", "bits", "accuracy_percent", "lower", "upper", "correct", "count",
    "paper_percent",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BitsCurve(Document):
    """Which images a network gets right under each uniform quantization.

    Attributes:
        outcomes: One per setting, with the role as model and the setting as column: "float32", "linear 3".
    """

    document: ClassVar[str] = "tf_laq clean accuracy by bits"
    version: ClassVar[int] = 2

    outcomes: tuple[Outcome, ...]

    def correct(self, setting: str) -> Correct:
        """Return where the network is right under a setting."""
        return next(outcome.correct for outcome in self.outcomes if outcome.column == setting)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcomes as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> BitsCurve:
        """Build the curve from what `to_dict` returned."""
        return cls(tuple(Outcome(**outcome) for outcome in content["outcomes"]))


class Point(NamedTuple):
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
        picture=draw_bits(named(study), points),
    )


def bits_curve(study: Study, role: str) -> BitsCurve:
    """Return the outcomes of the network in a role, from the cache or measured now."""
    count = min(study.settings.curve_examples, len(study.images))
    images, labels = study.images[:count], study.labels[:count]
    network = study.networks.trained[role]
    content = f"{__version__} {network.sha256} {archives.sha256([images, labels])} {list(settings())}"
    path = study.cache / f"{study.dataset}-curve-{role}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.json"
    if path.is_file():
        return BitsCurve.load(path)
    study.announce(f"clean accuracy by bits: {role}, {count} images")
    curve = BitsCurve(tuple(_outcomes(network, images, labels)))
    curve.save(path)
    return curve


def _outcomes(network: Network, images: Images, labels: Labels) -> Iterator[Outcome]:
    plans = (
        None if name == FLOAT else api.uniform(network.model, name, bits, progress=False) for name, bits in settings()
    )
    bar = tqdm(settings(), network.name, unit="setting", total=1 + len(QUANTIZERS) * len(BITS), disable=None)
    for (name, bits), quantized in zip(bar, network.in_turn(plans), strict=True):
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        predicted = [np.argmax(quantized.logits(tf.constant(batch)), axis=1) for batch in batches]
        correct = np.concatenate(predicted) == labels
        yield Outcome.record(correct, model=network.name, column=_setting(name, bits), knowledge="none")


def _points(study: Study, role: str) -> Iterator[Point]:
    curve = bits_curve(study, role)
    table = {"mnist": 3, "cifar10": 4}.get(study.dataset, 0)
    for name, bits in settings():
        right = curve.correct(_setting(name, bits))
        model = _PRINTED.get(f"{role} {_setting(name, bits)}", "")
        paper = reference.accuracy(table, study.dataset, model, "clean", "none")
        yield Point(role, name, bits, Share(int(right.sum()), len(right)), paper)


def _setting(name: str, bits: int) -> str:
    return FLOAT if name == FLOAT else f"{quantizers.get(name, bits).name} {bits}"


def _record(dataset: str, point: Point) -> list[object]:
    share = point.share
    ends = (f"{100 * end:.2f}" for end in share.interval)
    accuracy = f"{100 * share.value:.2f}"
    return [
        dataset,
        point.role,
        point.quantizer,
        point.bits,
        accuracy,
        *ends,
        share.successes,
        share.count,
        point.paper,
    ]
