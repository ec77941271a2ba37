"""Is a network that was trained adversarially in Keras 3 as robust as one trained in Keras 2?

The same recipe trains the same network in both, once for each seed, and the battery `standard` attacks all of them on
the same images. The two may round differently; a difference between them has to be held against
the spread over the seeds of one.

    python -m research.checks.keras_versions                        digits, three seeds: 10 CPU minutes
    python -m research.checks.keras_versions --dataset mnist --seeds 0 1 --examples 1000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from research.checks.program import argument_parser, publish
from tf_laq import datasets, evaluation
from tf_laq.attacks import Battery
from tf_laq.evaluation import RobustnessReport
from tf_laq.training import recipe, train

VERSIONS = (2, 3)
HEADERS = ["Keras", "seed", "clean", "PGD", "worst case [95 %]"]


def name(keras: int, seed: int) -> str:
    """Return what the report calls a network."""
    return f"Keras {keras}, seed {seed}"


def row(report: RobustnessReport, keras: int, seed: int) -> list[str]:
    """Return a line of the table, in percent."""
    network = name(keras, seed)
    clean, pgd = report.accuracy(network, "clean"), report.accuracy(network, "pgd", "white")
    return [str(keras), str(seed), str(clean), str(pgd), str(report.worst_case(network))]


def spread(values: list[float]) -> str:
    """Return the mean of percentages, and the least and the greatest."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argument_parser(__doc__)
    parser.add_argument("--dataset", default="digits", help="data set, which also names the recipe (default: digits)")
    parser.add_argument("--recipe", default="fast", help="recipe of the training (default: fast)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--examples", type=int, default=500, help="number of test images (default: 500)")
    options = parser.parse_args(argv)
    data = datasets.load(options.dataset)
    settings = recipe(options.dataset, options.recipe)
    each = [(keras, seed) for seed in options.seeds for keras in VERSIONS]
    report = evaluation.evaluate(
        {name(keras, seed): train(data, settings, keras=keras, seed=seed) for keras, seed in each},
        data.test.images[: options.examples],
        data.test.labels[: options.examples],
        battery=Battery.preset(options.dataset, "standard"),
        check_strength=False,
    )
    means = {
        keras: spread([100 * report.worst_case(name(keras, seed)).value for seed in options.seeds])
        for keras in VERSIONS
    }
    text = (
        f"{report.count} test images of {options.dataset}, recipe `{options.recipe}`, battery `standard` (seed "
        f"{report.seed}); `python -m research.checks.keras_versions --dataset {options.dataset} --recipe "
        f"{options.recipe} --seeds {' '.join(map(str, options.seeds))} --examples {options.examples}`. Percent "
        "of the images still classified correctly. Worst case, mean over the seeds and range: "
        + "; ".join(f"Keras {keras}: {found}" for keras, found in means.items())
        + "."
    )
    rows = [row(report, *one) for one in sorted(each)]
    title = f"Adversarial training in Keras 2 and in Keras 3: {options.dataset}"
    publish(f"keras_versions_{options.dataset}", title, text, HEADERS, rows, options.results)
    print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
