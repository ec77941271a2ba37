"""How a shipped MNIST network stands under the attacks of the MNIST challenge's leaderboard, on all test images.

PGD with 100 steps and 10 restarts, then Auto-PGD with cross-entropy, each on the images that the ones before left, and
each accuracy that of everything so far. The challenge's own adversarially trained network has 92.5 % under PGD-100,
89.6 % with 50 restarts, and 88.0 % under the strongest attack on its board. Square, which the worst case also needs, is
in saved_models/README.md.
About a quarter of an hour of processor time for the small network.

    python checks/anchors.py
    python checks/anchors.py --names mnist_twin --examples 1000
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import results
from tabulate import tabulate

import tf_laq as laq
from tf_laq import datasets, evaluation
from tf_laq.attacks import registry
from tf_laq.attacks.battery import Battery, Column

EPSILON = 0.3
ATTACKS = {
    "pgd": registry.get("pgd", epsilon=EPSILON, steps=100, step_size=0.01, restarts=10, stop_when_broken=True),
    "apgd_ce": registry.get("apgd_ce", epsilon=EPSILON, steps=100),
}
HEADERS = ["network", "clean", "PGD-100, 10 restarts", "and Auto-PGD-100 (cross-entropy)"]


def main() -> int:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=["mnist_adv"], help="shipped networks (default: mnist_adv)")
    parser.add_argument("--examples", type=int, default=10_000, help="number of test images (default: 10,000, all)")
    parser.add_argument("--out", default=results.FOLDER, help="folder to write to (default: docs/results)")
    options = parser.parse_args()
    columns = [Column(name="clean", attacks={"none": registry.get("clean")})]
    columns += [Column(name=name, attacks={"white": attack}) for name, attack in ATTACKS.items()]
    test = datasets.load("mnist").test
    report = evaluation.evaluate(
        {name: laq.models.load(name) for name in options.names},
        test.images[: options.examples],
        test.labels[: options.examples],
        battery=Battery(name="anchors", columns=tuple(columns), ensemble=True),
        batch_size=500,
        check_strength=False,
    )
    rows = [
        [
            name,
            str(report.accuracy(name, "clean")),
            *(str(report.accuracy(name, column, "white")) for column in ATTACKS),
        ]
        for name in report.models
    ]
    text = (
        f"{report.count:,} test images of MNIST, L-inf {EPSILON}, seed {report.seed}; `python checks/anchors.py "
        f"--names {' '.join(options.names)} --examples {options.examples}`. Percent of the images still classified "
        "correctly, with 95 % Wilson intervals; PGD's step is 0.01. Each column is what is left after it and the ones "
        "before."
    )
    results.write("anchors", "MNIST networks under the challenge's attacks", text, HEADERS, rows, folder=options.out)
    print(tabulate(rows, HEADERS, disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
