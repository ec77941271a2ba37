"""Does an exported MNIST network predict what the Keras model predicts, on every image, clean and adversarial?

Quantizes the network by Algorithm 1 and by the default policy, exports each in every layout, and compares the
predictions on all 10,000 test images and on a saved set of adversarial examples: white-box PGD on the quantized Keras
model. A prediction that differs is accepted only for a tie: the two largest logits within rounding of each other.
Otherwise the exit code is 1. A minute.

    python -m research.checks.equality
    python -m research.checks.equality --model my.keras --plan my_plan.json --out out/equality
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tf_laq as laq
from research import files
from research.checks.program import SAVED_MODELS, argument_parser, publish
from research.pages import short_bits
from tf_laq import datasets, policies
from tf_laq.adapters import logits_function
from tf_laq.attacks import PGD
from tf_laq.tflite import LAYOUTS, load

MODEL = SAVED_MODELS / "mnist_adv" / "model.keras"
TOLERANCE = 1e-5
"""What counts as rounding, in units of the largest logit: the tolerance of the export."""

BATCH = 250
HEADERS = [
    "plan", "layout", "bytes", "/ float32", "images", "number", "correct, Keras", "correct, file", "predictions equal",
    "ties", "largest difference",
]  # fmt: skip


def outputs(model: Callable[[Any], Any], images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a model's logits, batch by batch."""
    return np.concatenate([np.asarray(model(images[i : i + BATCH])) for i in range(0, len(images), BATCH)])


def adversarial(model: Callable[[Any], Any], split: datasets.Split, attack: PGD, path: Path) -> npt.NDArray[np.float32]:
    """Make adversarial examples of some images, save them, and return them as they were saved."""
    indices = np.arange(len(split))
    batches = np.split(indices, range(BATCH, len(split), BATCH))
    examples = [attack(model, split.images[batch], split.labels[batch], indices=batch) for batch in batches]
    content = io.BytesIO()
    np.savez_compressed(content, images=np.concatenate(examples), labels=split.labels)
    files.write(path, content.getvalue())
    saved: npt.NDArray[np.float32] = np.load(path)["images"]
    return saved


def compare(
    expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[list[Any], list[int]]:
    """Return the comparison's cells, and the images whose predictions differ without a tie."""
    largest = np.abs(expected).max()
    second, first = np.sort(expected, axis=1)[:, -2:].T
    ties = first - second <= 2 * TOLERANCE * largest
    equal = expected.argmax(1) == found.argmax(1)
    cells = [
        len(labels),
        np.sum(expected.argmax(1) == labels),
        np.sum(found.argmax(1) == labels),
        np.sum(equal),
        np.sum(ties),
        f"{np.abs(found - expected).max() / largest:.1e}",
    ]
    return cells, [int(index) for index in np.flatnonzero(~equal & ~ties)]


TEXT = """
The network `{model}`, trained adversarially, is quantized and exported in every layout. Both the Keras model and the
files classify every image: all {clean:,} test images of MNIST, and {adversarial:,} adversarial examples, made on the
quantized Keras model from the first test images by `{attack}`. The plans:

{plans}

A tie: the two largest logits of the Keras model are within rounding ({tolerance:g} of the largest logit) of each other.
The largest difference of the logits is relative to the largest logit. Made by `python -m research.checks.equality`.

{verdict}
"""


def compare_layouts(
    model: Any, plan: laq.QuantizationPlan, test: datasets.Split, attacked: datasets.Split, attack: PGD, out: Path
) -> tuple[list[list[Any]], list[str]]:
    """Return the rows of one plan, and the images whose predictions differ without a tie."""
    plan.save(out / "plan.json")
    keras = logits_function(laq.bake(model, plan))
    examples = adversarial(keras, attacked, attack, out / "adversarial.npz")
    sets = {"clean": (np.asarray(test.images), test.labels), "adversarial": (examples, attacked.labels)}
    expected = {name: outputs(keras, images) for name, (images, _) in sets.items()}
    rows, differing = [], []
    for layout in LAYOUTS:
        path = out / f"{layout}.tflite"
        report = laq.export_tflite(model, path, plan, layout=layout, images=test.images[:32])
        file = load(path)
        for name, (images, labels) in sets.items():
            cells, wrong = compare(expected[name], outputs(file, images), labels)
            sizes = [f"{report.file_bytes:,}", f"{report.file_bytes / report.float_bytes:.3f}"]
            rows.append([layout, *sizes, name, *cells])
            differing += [f"{layout}, {name} image {index}" for index in wrong]
    return rows, differing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and write its page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL, help="a tf_keras network for MNIST with logits")
    parser.add_argument("--plan", help="its plan; without, those of Algorithm 1 and of the default policy")
    parser.add_argument("--examples", type=int, default=1000, help="number of adversarial examples")
    parser.add_argument("--epsilon", type=float, default=0.3, help="their largest change of a pixel")
    parser.add_argument("--out", default="out/equality", help="where plan, files and examples go")
    options = parser.parse_args(argv)
    model, test = laq.load_model(options.model), datasets.load("mnist").test
    if options.plan:
        plans = {"given": laq.QuantizationPlan.load(options.plan)}
    else:
        plans = {policy: laq.search(model, policy=policy) for policy in ("paper", policies.DEFAULT)}
    attack = PGD(epsilon=options.epsilon)
    attacked = datasets.Split(test.images[: options.examples], test.labels[: options.examples])
    rows, differing = [], []
    for name, plan in plans.items():
        found, wrong = compare_layouts(model, plan, test, attacked, attack, Path(options.out) / name)
        rows += [[name, *row] for row in found]
        differing += [f"{name}, {each}" for each in wrong]
    verdict = "Every prediction is equal, ties apart." if not differing else f"DIFFERENT: {'; '.join(differing)}."
    print(verdict)
    text = TEXT.format(
        model=Path(options.model).parent.name + "/" + Path(options.model).name,
        plans="\n".join(f"- {name}: {plan.policy}; {short_bits(plan)}." for name, plan in plans.items()),
        clean=len(test),
        adversarial=len(attacked),
        attack=attack,
        tolerance=2 * TOLERANCE,
        verdict=verdict,
    )
    title = "An exported MNIST network predicts what the Keras model predicts"
    publish("tflite_equality", title, text, HEADERS, rows, options.results)
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
