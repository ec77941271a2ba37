"""What quantized weights hide from gradient attacks, and the cheapest way to see it, beside Square in the same run.

An adversarially trained MNIST network is quantized uniformly, linear and log. On each of these networks: PGD and
Auto-PGD as they are, Auto-PGD on the completed gradient (tf_laq/attacks/completion.py), which is the second
search of an evaluation, and Square with 5,000 queries. Accuracy after each attack, and CPU seconds.

    python benchmarks/masked_gradients.py                                        the first 128 test images
    python benchmarks/masked_gradients.py --examples 1000 --bits 4 --model my.keras
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tabulate import tabulate

import tf_laq as laq
from tf_laq import attacks, datasets
from tf_laq.adapters import logits_function
from tf_laq.attacks.base import Images, Labels, Logits
from tf_laq.attacks.completion import completed_gradient

MODEL = Path(__file__).resolve().parent.parent / "saved_models" / "mnist_adv" / "model.keras"
EPSILON = 0.3
PGD = attacks.get("pgd", epsilon=EPSILON, steps=100, step_size=0.01)
APGD = attacks.get("apgd_ce", epsilon=EPSILON, steps=100)
SHORT_APGD = attacks.get("apgd_ce", epsilon=EPSILON, steps=40)
SQUARE = attacks.get("square", epsilon=EPSILON, queries=5000)


def networks(model: Any, widths: list[int]) -> Iterator[tuple[str, Any]]:
    """Give the full-precision network and every uniformly quantized one."""
    yield "full precision", model
    for quantizer in ("linear", "log"):
        for bits in widths:
            plan = laq.uniform(model, quantizer, bits, progress=False)
            yield f"{quantizer} {bits}", laq.bake(model, plan)


def rows(model: Any, widths: list[int], images: Images, labels: Labels) -> Iterator[dict[str, float | str]]:
    """Give a line of the table for every network: accuracies in percent, and CPU seconds."""
    float_logits = logits_function(model)
    for name, network in networks(model, widths):
        logits = logits_function(network)
        completed = completed_gradient(logits, EPSILON, float_logits)
        runs = {
            "PGD": (PGD, logits),
            "APGD": (APGD, logits),
            "completed": (APGD, completed),
            "40 steps": (SHORT_APGD, completed),
            "Square": (SQUARE, logits),
        }
        row: dict[str, float | str] = {"network": name, "clean": _percent(_right(logits, images, labels))}
        right = {}
        for title, (attack, source) in runs.items():
            start = time.process_time()
            adversarial = attack(source, images, labels)
            seconds = time.process_time() - start
            right[title] = _right(logits, adversarial, labels)
            row |= {title: _percent(right[title]), f"{title}, s": round(seconds, 1)}
        row["only Square"] = int((right["completed"] & ~right["Square"]).sum())
        row["only completed"] = int((~right["completed"] & right["Square"]).sum())
        yield row


def _right(logits: Logits, images: Images, labels: Labels) -> npt.NDArray[np.bool_]:
    return np.asarray(np.argmax(logits(tf.constant(images)), axis=1) == labels)


def _percent(right: npt.NDArray[np.bool_]) -> float:
    return round(100.0 * float(right.mean()), 1)


def main() -> None:
    """Print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="adversarially trained network for MNIST")
    parser.add_argument("--examples", type=int, default=128, help="number of test images (default: 128)")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4, 5, 8], help="bit widths (default: 3 4 5 8)")
    options = parser.parse_args()
    test = datasets.load("mnist").test
    images, labels = test.images[: options.examples], test.labels[: options.examples]
    found = list(rows(laq.load_model(options.model), options.bits, images, labels))
    print(f"{options.model.parent.name}, N = {len(images)}, epsilon {EPSILON}: accuracy in %, CPU seconds, images")
    print(tabulate(found, headers="keys", floatfmt=".1f"))
    quantized = found[1:]
    square = sum(float(row["Square, s"]) for row in quantized)
    for title in ("completed", "40 steps"):
        seconds = sum(float(row[f"{title}, s"]) for row in quantized)
        above = max(float(row[title]) - float(row["Square"]) for row in quantized)
        print(f"Square / {title}, CPU seconds on quantized networks: {square / seconds:.1f}; at most {above:.1f} above")


if __name__ == "__main__":
    main()
