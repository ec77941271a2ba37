"""How a shipped MNIST network stands under the attacks of the MNIST challenge's leaderboard, on all test images.

PGD with 100 steps and 10 restarts, then Auto-PGD with cross-entropy, each on the images that the ones before left, and
each accuracy that of everything so far. The challenge's own adversarially trained network has 92.5 % under PGD-100,
89.6 % with 50 restarts, and 88.0 % under the strongest attack on its board. Square, which the worst case also needs, is
in saved_models/README.md.
About a quarter of an hour of processor time for the small network.

    python -m research.checks.anchors
    python -m research.checks.anchors --names mnist_twin --examples 1000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tf_laq as laq
from research.checks.program import argument_parser, publish
from tf_laq import attacks, datasets, evaluation
from tf_laq.attacks import Battery, Column

EPSILON = 0.3
ATTACKS = {
    "pgd": attacks.get("pgd", epsilon=EPSILON, steps=100, step_size=0.01, restarts=10, stop_when_broken=True),
    "apgd_ce": attacks.get("apgd_ce", epsilon=EPSILON, steps=100),
}
HEADERS = ["network", "clean", "PGD-100, 10 restarts", "and Auto-PGD-100 (cross-entropy)"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argument_parser(__doc__)
    parser.add_argument("--names", nargs="+", default=["mnist_adv"], help="shipped networks (default: mnist_adv)")
    parser.add_argument("--examples", type=int, default=10_000, help="number of test images (default: 10,000, all)")
    options = parser.parse_args(argv)
    columns = [Column(name="clean", attacks={"none": attacks.get("clean")})]
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
        f"{report.count:,} test images of MNIST, L-inf {EPSILON}, seed {report.seed}; `python -m "
        f"research.checks.anchors --names {' '.join(options.names)} --examples {options.examples}`. Percent of the "
        "images still classified correctly, with 95 % Wilson intervals; PGD's step is 0.01. Each column is what is "
        "left after it and the ones before."
    )
    publish("anchors", "MNIST networks under the challenge's attacks", text, HEADERS, rows, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
