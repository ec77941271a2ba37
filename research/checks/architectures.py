"""Which architectures can be exported, in every layout: each has to be exact or refused by name.

Exact: the file's outputs are within 1e-5 of the largest output of the Keras model and predict the same class, on random
images. Refused: an error that names what is in the way. Anything else is a failure, and the exit code is 1. Weights
and normalisation statistics are random, inputs small, one export after the other: a quarter of an hour.

    python -m research.checks.architectures
    python -m research.checks.architectures --only U-Net,LSTM --layouts packed
"""

from __future__ import annotations

import csv
import gc
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from tabulate import tabulate
from tqdm import tqdm

import tf_laq as laq
from research.checks.builders import ARCHITECTURES
from research.checks.program import argument_parser
from research.pages import write_check
from tf_laq import quantizers
from tf_laq.tflite import LAYOUTS, ExportReport

PAGE = "tflite_architectures"
IMAGES = 16
LARGE = 1_000_000
"""Networks with more weights are exported in the first two layouts only: the third is a mixture of their encodings."""
PLANS: dict[str, Callable[[Any], laq.QuantizationPlan]] = {
    "linear 4": lambda model: laq.uniform(model, "linear", 4, progress=False),
    "log 4": lambda model: laq.uniform(model, "log", 4, progress=False),
    "mixed": lambda model: mixed(model),
}
HEADERS = [
    "architecture", "weights", "plan", "layout", "outcome", "bytes", "limit", "/ limit", "/ float32", "difference",
    "predictions", "stored as", "oldest runtime",
]  # fmt: skip


def mixed(model: Any) -> Any:
    """Return a plan that gives every kernel another of eight settings, one after the other."""
    settings = [("linear", 3), ("log", 4), ("linear", 6), ("linear", 2), ("log", 8), ("linear", 8), ("log", 3)]
    plan = laq.uniform(model, "linear", 5, progress=False)
    overrides = {}
    for index, entry in enumerate(plan.entries):
        if index % 8:
            overrides[entry.layer] = quantizers.get(*settings[index % 8 - 1])
    return laq.uniform(model, "linear", 5, overrides=overrides, progress=False)


def randomise(model: Any) -> None:
    """Give biases and normalisation parameters values of their own, near 1, so that deep networks stay finite."""
    random = np.random.default_rng(0)
    weights = model.get_weights()
    model.set_weights([w if w.ndim > 1 else random.uniform(0.8, 1.2, w.shape).astype(w.dtype) for w in weights])


def export(name: str, model: Any, setting: str, plan: Any, layout: str, path: Path) -> list[Any]:
    """Export a model in a layout and return the row of the table."""
    row = [name, f"{sum(math.prod(e.shape) for e in plan.entries):,}", setting, layout]
    images = np.random.default_rng(1).random((IMAGES, *model.input_shape[1:]), dtype=np.float32)
    try:
        report = laq.export_tflite(model, path, plan, layout=layout, images=images)  # type: ignore[arg-type]
    except laq.InputError as error:
        return [*row, f"refused: {error}", *[""] * 8]
    except Exception as error:
        return [*row, f"FAILED: {type(error).__name__}: {error}", *[""] * 8]
    lost = sum(e.quantizer is not None for e in plan.entries) - sum(t.quantizer is not None for t in report.tensors)
    if lost:
        return [*row, f"FAILED: {lost} planned tensors are stored as float32 without a word", *_figures(report)]
    return [*row, "exact" if report.predictions_equal else "FAILED: predictions differ", *_figures(report)]


def _figures(report: ExportReport) -> list[Any]:
    stored = [part for tensor in report.tensors for part in tensor.encoding.split(", ")]
    return [
        f"{report.file_bytes:,}",
        f"{report.limit_bytes:,}",
        f"{report.file_bytes / report.limit_bytes:.3f}",
        f"{report.file_bytes / report.float_bytes:.3f}",
        f"{report.parity.relative_difference:.1e}",
        f"{report.parity.images - report.parity.differing_predictions} of {report.parity.images}",
        ", ".join(f"{stored.count(kind)} {kind}" for kind in dict.fromkeys(stored)),
        report.runtime,
    ]


def rows(name: str, build: Callable[[], Any], layouts: list[str], path: Path, setting: str) -> list[list[Any]]:
    """Return a row per layout for an architecture."""
    tf_keras.backend.clear_session()
    gc.collect()
    tf_keras.utils.set_random_seed(0)
    model = build()
    randomise(model)
    plan = PLANS[setting](model)
    chosen = layouts if model.count_params() <= LARGE else layouts[:2]
    return [export(name, model, setting, plan, layout, path) for layout in chosen]


def outcome(row: list[Any]) -> str:
    """Return "exact", "refused" or "failed"."""
    return str(row[HEADERS.index("outcome")]).partition(":")[0].lower()


def earlier(folder: Path) -> dict[str, list[list[Any]]]:
    """Return the rows of an earlier run, by architecture."""
    path = folder / f"{PAGE}.csv"
    found: dict[str, list[list[Any]]] = {}
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for row in list(csv.reader(lines))[1:]:
                found.setdefault(row[0], []).append(row)
    return found


def write(found: dict[str, list[list[Any]]], folder: Path) -> None:
    """Write the page with what was found so far, in the order of the architectures."""
    all_rows = [row for name in ARCHITECTURES for row in found.get(name, [])]
    outcomes = [outcome(row) for row in all_rows]
    counts = {kind: outcomes.count(kind) for kind in ("exact", "refused", "failed")}
    summary = (
        f"{len(found)} architectures, {len(all_rows)} exports: {counts['exact']} exact, "
        f"{counts['refused']} refused by name, {counts['failed']} failed."
    )
    text = TEXT.format(images=IMAGES, large=LARGE, summary=summary)
    write_check(PAGE, "Architectures exported as TensorFlow Lite files", text, HEADERS, all_rows, folder)


TEXT = """
Each architecture, with random weights and random normalisation statistics, is quantized by the plan in the third
column ("mixed": another of eight settings, linear and log from 2 to 8 bits, for each kernel in turn) and exported.
"Exact": the file's outputs are within 1e-5 of the largest output of the Keras model, and the predictions are equal, on
{images} random images; the figures are from the file as it is run by the LiteRT interpreter. "Refused": nothing was
written, for the reason that is given. The limit is the planned weights at their widths, all other constants in float32.
Networks of more than {large:,} weights are exported in the first two layouts only.
Made by `python -m research.checks.architectures`.

{summary}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and write its page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--only", help="some architectures, by name: the page keeps the rows of the others")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    chosen = options.only.split(",") if options.only else list(ARCHITECTURES)
    settings = {name: list(PLANS)[i % len(PLANS)] for i, name in enumerate(ARCHITECTURES)}
    found = earlier(options.results) if options.only else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(chosen, disable=None):
            build = ARCHITECTURES[name]
            found[name] = rows(name, build, options.layouts.split(","), Path(folder) / "m.tflite", settings[name])
            tqdm.write(tabulate(found[name], tablefmt="plain", disable_numparse=True))
            # After each one, so that a run that is stopped leaves what it found.
            write(found, options.results)
    failed = [name for name in chosen if "failed" in map(outcome, found[name])]
    print(f"failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
