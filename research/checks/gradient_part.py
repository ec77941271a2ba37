"""Do the gradient attacks of the battery `strong` find on quantized networks what Square finds?

An adversarially trained MNIST network is quantized uniformly, linear and log, and evaluated by the battery `strong`
with an independent twin as the surrogate. For every network: the accuracy under gray-box examples, under all attacks
but Square (the gradient-based part), and in the worst case. The exit code is 1 if a white-box worst case is above the
gray-box one, which must never happen. About a CPU second an image for each network that stays robust.

    python -m research.checks.gradient_part
    python -m research.checks.gradient_part --model adv.keras --twin twin.keras --examples 1000 --bits 4
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tf_laq as laq
from research.checks.program import SAVED_MODELS, argument_parser, publish
from research.statistics import share
from tf_laq import datasets, evaluation
from tf_laq.attacks import Battery
from tf_laq.evaluation import RobustnessReport

GRADIENT_FREE = "square"
ENOUGH = 3.0
"""Percentage points that the gradient-based part may be above the worst case."""

HEADERS = ["network", "clean", "gray-box worst case", "gradient-based part", "worst case [95 %]", "above, points"]


def row(report: RobustnessReport, name: str) -> list[str]:
    """Return a line of the table: accuracies in percent."""
    found = [o.correct for o in report.outcomes if o.model == name and o.column != GRADIENT_FREE]
    part = share(np.logical_and.reduce(found))
    worst = report.worst_case(name)
    clean, gray = report.accuracy(name, "clean"), report.worst_case(name, "gray")
    above = 100 * (part.value - worst.value)
    return [name, *(f"{100 * each.value:.1f}" for each in (clean, gray, part)), str(worst), f"{above:.1f}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, default=SAVED_MODELS / "mnist_adv" / "model.keras")
    parser.add_argument("--twin", type=Path, default=SAVED_MODELS / "mnist_twin" / "model.keras")
    parser.add_argument("--examples", type=int, default=200, help="number of test images (default: 200)")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4, 5, 8], help="bit widths (default: 3 4 5 8)")
    options = parser.parse_args(argv)
    model, twin = laq.load_model(options.model), laq.load_model(options.twin)
    quantized = {
        f"{quantizer} {bits}": laq.bake(model, laq.uniform(model, quantizer, bits, progress=False))
        for quantizer in ("linear", "log")
        for bits in options.bits
    }
    test = datasets.load("mnist").test
    report = evaluation.evaluate(
        {"full precision": model, **quantized},
        test.images[: options.examples],
        test.labels[: options.examples],
        battery=Battery.preset("mnist", "strong"),
        surrogates={"twin": twin},
        float_twins=dict.fromkeys(quantized, model),
        batch_size=256,
        check_strength=False,
    )
    rows = [row(report, name) for name in report.models]
    text = (
        f"{report.count} test images, battery `strong` (L-inf 0.3, seed {report.seed}), {options.model.parent.name}; "
        "`python -m research.checks.gradient_part`. The gradient-based part is every attack but Square with 5,000 "
        "queries: the gray-box examples and the second search are in it. It is to be at most "
        f"{ENOUGH:.0f} points above the worst case."
    )
    publish("gradient_part", "Gradient attacks on quantized networks", text, HEADERS, rows, options.results)
    values = {m: [report.worst_case(m, knowledge).value for knowledge in ("white", "gray")] for m in report.models}
    return int(any(white > gray for white, gray in values.values()))


if __name__ == "__main__":
    sys.exit(main())
