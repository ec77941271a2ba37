"""What plans and matched statistics leave of a network: clean accuracy and the worst case.

Every row is attacked on the same images: PGD in ten steps, Auto-PGD on the cross-entropy (30 steps), targeted
Auto-PGD (3 targets, 20 steps), and then Square, each on what the ones before it left. An image counts if it
withstands all of them.

    python -m research.checks.plans                                WRN-32-4: hours on two cores
    python -m research.checks.plans --rows guarded guarded+match --examples 100 --queries 200
    python -m research.checks.plans --work folder                  goes on if it was stopped
    python -m research.checks.plans --network mine.keras --data mnist
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tf_laq as laq
from research.checks.program import argument_parser, publish
from research.statistics import share
from tf_laq import datasets, evaluation, policies, training
from tf_laq.attacks import PGD, Battery, Column, get
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError
from tf_laq.evaluation import drop
from tf_laq.models import trained
from tf_laq.plan import QuantizationPlan
from tf_laq.policies import Limit

FLOAT = "float"
EPSILONS = {"cifar10": 8 / 255, "mnist": 0.3}
ROWS = ("guarded", "guarded+textures", "guarded+match", "calibrated-2.8+match", "kmeans-3+match")
GRADIENT_FREE = "square"
# Images between two things that are kept: half an hour of two cores for five networks.
_PART = 50
HEADERS = ["network", "bits", "clean", "below float", "PGD", "Auto-PGD", "then Square", "below float"]


def battery(epsilon: float, queries: int) -> Battery:
    """Return the attacks, from the quickest to the dearest."""
    settings: dict[str, dict[str, Any]] = {
        "pgd": {"steps": 10, "step_size": epsilon / 4},
        "apgd_ce": {"steps": 30},
        "apgd_t": {"steps": 20, "targets": 3},
        GRADIENT_FREE: {"queries": queries},
    }
    columns = [Column(name=name, attacks={"white": get(name, epsilon=epsilon, **of)}) for name, of in settings.items()]
    return Battery(name="plans", columns=tuple(columns), ensemble=True, second_search=False)


def quantized(model: Any, row: str, images: Any, attack: PGD, tuned_on: Dataset) -> tuple[Any, float]:
    """Return the network of a row, and its bits a weight.

    Args:
        model: The full-precision network.
        row: A plan and the steps after it, such as "guarded", "budget-2.5+match" or "kmeans-3+textures".
        images: Training images for what needs some.
        attack: Perturbs half of them.
        tuned_on: Data for fine-tuning.
    """
    first, *steps = row.split("+")
    plan = planned(model, first, images, attack)
    if steps[:1] == ["tune"]:
        made = laq.strip(training.fine_tune(model, plan, tuned_on))
        del steps[0]
    else:
        made = laq.bake(model, plan)
    for step in steps:
        if step == "match":
            made = training.match_statistics(made, model, images, attack=attack)
        elif step == "textures":
            made = training.match_statistics(made, model, training.textures(model))
        else:
            raise InputError("rows", expected="+match or +textures, after a plan or PLAN+tune", received=repr(row))
    return made, plan.average_bits


def planned(model: Any, name: str, images: Any, attack: PGD) -> QuantizationPlan:
    """Return a plan: "guarded", "budget-2.5", "calibrated-2.8", or a quantizer and its bits, such as "kmeans-3"."""
    kind, _, number = name.partition("-")
    if kind == "guarded":
        return laq.search(model, progress=False)
    if not number:
        expected = "guarded, budget-BITS, calibrated-BITS or QUANTIZER-BITS"
        raise InputError("rows", expected=expected, received=repr(name))
    if kind not in ("budget", "calibrated"):
        return laq.uniform(model, kind, int(number), progress=False)
    limit = Limit(average_bits=float(number))
    if kind == "budget":
        return laq.search(model, policy=policies.Budget(limit=limit), progress=False)
    return laq.search(model, policy=policies.Calibrated(images[:64], limit=limit, attack=attack), progress=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argument_parser(__doc__)
    parser.add_argument("--network", default="cifar10_wrn4_adv", help="trained network, or a saved Keras model")
    parser.add_argument("--data", choices=EPSILONS, default="cifar10", help="data of a saved model (default: cifar10)")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help=f"rows (default: {' '.join(ROWS)})")
    parser.add_argument("--images", type=int, default=256, help="training images for the corrections (default: 256)")
    parser.add_argument("--tuning", type=int, default=8000, help="training images for fine-tuning (default: 8000)")
    parser.add_argument("--clean", type=int, default=1000, help="test images for the clean accuracy (default: 1000)")
    parser.add_argument("--examples", type=int, default=200, help="test images for the attacks (default: 200)")
    parser.add_argument("--queries", type=int, default=1000, help="queries of Square (default: 1000)")
    parser.add_argument("--page", help="name of the page (default: that of the network and _plans)")
    parser.add_argument("--work", type=Path, help="folder to keep finished parts in: a run that was stopped goes on")
    options = parser.parse_args(argv)
    known = trained().get(options.network)
    dataset = known.dataset if known else options.data
    model = laq.models.load(options.network, keras=3) if known else laq.load_model(options.network)
    data, called = datasets.load(dataset), Path(options.network).stem
    attack = PGD(epsilon=EPSILONS[dataset], steps=10, step_size=EPSILONS[dataset] / 4)
    some = Split(data.train.images[: options.tuning], data.train.labels[: options.tuning])
    tuned_on = dataclasses.replace(data, train=some)
    networks, bits = {FLOAT: model}, {FLOAT: 32.0}
    for row in options.rows:
        networks[row], bits[row] = quantized(model, row, data.train.images[: options.images], attack, tuned_on)
        print(f"{row}: {bits[row]:.2f} bits", flush=True)
    table = battery(EPSILONS[dataset], options.queries)
    report = evaluation.evaluate(
        networks,
        data.test.images[: options.examples],
        data.test.labels[: options.examples],
        battery=table,
        batch_size=100,
        part_size=_PART,
        folder=options.work,
        check_strength=False,
    )
    wanted = data.test.labels[: options.clean]
    clean = {
        name: np.argmax(made.predict(data.test.images[: options.clean], batch_size=250, verbose=0), axis=1) == wanted
        for name, made in networks.items()
    }
    columns = {"PGD": "pgd", "Auto-PGD": "apgd_t"}
    rows = [
        [
            name,
            f"{bits[name]:.2f}",
            str(share(clean[name])),
            str(drop(clean[FLOAT], clean[name])) if name != FLOAT else "",
            *(str(report.accuracy(name, column, "white")) for column in columns.values()),
            str(report.worst_case(name)),
            str(drop(report.surviving(FLOAT), report.surviving(name))) if name != FLOAT else "",
        ]
        for name in networks
    ]
    command = (
        f"python -m research.checks.plans --network {options.network}{'' if known else f' --data {dataset}'} --rows "
        f"{' '.join(options.rows)} --images {options.images} --clean {options.clean} --examples {options.examples} "
        f"--queries {options.queries}{f' --page {options.page}' if options.page else ''}"
    )
    text = (
        f"`{called}`: clean accuracy on the first {options.clean} test images; attacks on the first "
        f"{report.count} (L-inf {EPSILONS[dataset]:.4g}, seed {report.seed}; Square with {options.queries} queries), "
        "each on what the ones before it left, without a second search. Percent with 95 % Wilson intervals; points "
        f"below full precision on the same images. `+match`: statistics matched on {options.images} training images "
        "without labels, half of them PGD examples of the full-precision network; `calibrated` sees the first 64 of "
        f"them; `+textures`: matched on images of noise, without data; `+tune`: fine-tuned by the recipe finetune on "
        f"{options.tuning} training images. `{command}`."
    )
    publish(options.page or f"{called}_plans", f"What plans leave of {called}", text, HEADERS, rows, options.results)
    print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
