"""Do the worst cases of this package agree with AutoAttack, the reference of the field?

AutoAttack (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks") attacks networks of the selection tables in PyTorch, on the same weights and images, and the
page puts its figures beside the worst cases of these tables. Its code comes from a clone of
https://github.com/fra31/auto-attack; neither that nor PyTorch is needed for anything else, or installed with it. It
takes a minute or two a network on a large GPU.

    python -m research.checks.autoattack --autoattack path/to/auto-attack
    python -m research.checks.autoattack      writes the page again from the figures of its CSV file
"""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tf_laq as laq
from research.checks.program import argument_parser
from research.checks.torch_networks import FORWARD, torch_weights
from research.pages import Result, Section, markdown_table
from tf_laq import datasets
from tf_laq.evaluation import Share

PAGE = "autoattack"
EPSILONS = {"mnist": 0.3, "cifar10": 8 / 255}
TITLES = {"mnist": "MNIST, four layers", "cifar10": "CIFAR-10, WRN-32-1"}
HEADERS = (
    "dataset", "network", "count", "autoattack_percent", "lower", "upper", "worst_case_percent", "points", "device",
)  # fmt: skip
# As far as the sums of float32 differ between libraries.
_SAME_LOGITS = 1e-3


class Quantized(NamedTuple):
    """A network of a selection table.

    Attributes:
        dataset: Its data set; the network is that of its role `adv`.
        name: Its name in the table.
        title: What it is, in words.
        make: Quantizes `adv`.
    """

    dataset: str
    name: str
    title: str
    make: Callable[[Any], Any]


def _by_policy(**settings: Any) -> Callable[[Any], Any]:
    return lambda model: laq.bake(model, laq.search(model, progress=False, **settings))


def _uniform(quantizer: str, bits: int) -> Callable[[Any], Any]:
    return lambda model: laq.bake(model, laq.uniform(model, quantizer, bits, progress=False))


NETWORKS = (
    Quantized("mnist", "adv", "full precision", lambda model: model),
    Quantized("mnist", "guarded", "`guarded`", _by_policy(policy="guarded")),
    Quantized("mnist", "lq", "Algorithm 1", _by_policy(policy="paper")),
    Quantized("mnist", "log-4", "4-bit log", _uniform("log", 4)),
    Quantized("mnist", "kmeans-4", "4-bit k-means", _uniform("kmeans", 4)),
    Quantized("cifar10", "adv", "full precision", lambda model: model),
    Quantized("cifar10", "guarded", "`guarded`", _by_policy(policy="guarded")),
    Quantized("cifar10", "lq", "Algorithm 1", _by_policy(policy="paper")),
    Quantized("cifar10", "budget", "`budget`, 2.9 bits", _by_policy(policy="budget", average_bits=2.9)),
)


class Found(NamedTuple):
    """How many images a network withstands under AutoAttack.

    Attributes:
        share: Of the first test images.
        device: What it was measured on.
    """

    share: Share
    device: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check, or write its page again."""
    parser = argument_parser(__doc__)
    parser.add_argument("--autoattack", type=Path, help="clone of https://github.com/fra31/auto-attack")
    parser.add_argument("--device", default="cuda", help="device of PyTorch (default: cuda)")
    parser.add_argument("--examples", type=int, default=1000, help="number of test images (default: 1,000)")
    options = parser.parse_args(argv)
    found = earlier(options.results)
    if options.autoattack is not None:
        torch, attack_class = imported("torch"), imported("autoattack", options.autoattack).AutoAttack
        for network in NETWORKS:
            found[network.dataset, network.name] = measured(network, options, torch, attack_class)
            print(network.dataset, network.name, found[network.dataset, network.name].share, flush=True)
    print(page(found, worst_cases(options.results)).write(options.results))
    return 0


def imported(name: str, folder: Path | None = None) -> Any:
    """Return a module that is not installed with this package.

    Args:
        name: Its name.
        folder: Where it is, if it is not installed at all.

    Raises:
        SystemExit: It is not there.
    """
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        place = f"in {folder}" if folder is not None else "in this environment"
        raise SystemExit(
            f"{name} cannot be imported {place}: {error}. AutoAttack needs PyTorch (pip install torch) and a clone of "
            "https://github.com/fra31/auto-attack. Without --autoattack, the page is written from its CSV file."
        ) from error


def measured(network: Quantized, options: Any, torch: Any, attack_class: Any) -> Found:
    """Return what a network withstands under AutoAttack.

    Raises:
        SystemExit: PyTorch does not compute what Keras computes.
    """
    model = network.make(laq.models.load(f"{network.dataset}_adv"))
    test = datasets.load(network.dataset).test
    images = test.images[: options.examples]
    weights = {name: torch.tensor(values).to(options.device) for name, values in torch_weights(model).items()}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def logits(x: Any) -> Any:
        return FORWARD[model.name](x, weights, torch.nn.functional)

    x = torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(options.device)
    y = torch.tensor(test.labels[: options.examples]).to(options.device)
    difference = float(np.abs(logits(x[:100]).cpu().numpy() - np.asarray(model(images[:100]))).max())
    if difference > _SAME_LOGITS:
        raise SystemExit(
            f"{network.dataset} {network.name}: the logits of Keras and PyTorch differ by {difference:.1e}."
        )
    attack = attack_class(
        logits, norm="Linf", eps=EPSILONS[network.dataset], version="standard", device=options.device, seed=0
    )
    adversarial = attack.run_standard_evaluation(x, y, bs=len(x))
    right = int((logits(adversarial).argmax(1) == y).sum())
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    return Found(Share(right, len(images)), f"{device}, PyTorch {torch.__version__}")


def earlier(folder: Path) -> dict[tuple[str, str], Found]:
    """Return the figures of the CSV file in a folder, by data set and network; none if it is not there."""
    path = folder / f"{PAGE}.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        return {
            (row["dataset"], row["network"]): Found(
                Share(round(float(row["autoattack_percent"]) * int(row["count"]) / 100), int(row["count"])),
                row["device"],
            )
            for row in csv.DictReader(lines)
        }


def worst_cases(folder: Path) -> dict[tuple[str, str], Share]:
    """Return the worst cases of the selection tables in a folder of results, by data set and network."""
    found = {}
    for dataset in EPSILONS:
        with (folder / "paper" / f"{dataset}_selection.csv").open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                count = int(row["count"])
                right = round(float(row["worst_case_percent"]) * count / 100)
                found[dataset, row["network"]] = Share(right, count)
    return found


TEXT = """
AutoAttack (Croce and Hein 2020) is what robustness benchmarks rank networks by. Here its published code attacked the
networks in PyTorch, on the same quantized weights and the same first {count} test images as the [selection
tables](paper/README.md): version `standard` (APGD-CE, APGD-T, FAB-T, and Square with 5,000 queries), one run, seed 0.
No pixel changes by more than 0.3 on MNIST and 8/255 on CIFAR-10. Each figure is the percentage of images that a
network gets right under every attack, with its 95 % Wilson interval. The last column is this package's worst case
minus AutoAttack's figure, in points: where it is below zero, this package broke more images.

{table}

The two differ by at most {others:.1f} points, except under Algorithm 1 on MNIST, whose coarse kernels hide gradients.
There AutoAttack leaves {hidden:.1f} points more standing. Beside attacks like AutoAttack's, this package makes a
[second search](../guide/robustness_table.md#the-second-search), with a completed gradient where the gradient is zero
and from the examples of other networks.
"""


def page(found: Mapping[tuple[str, str], Found], ours: Mapping[tuple[str, str], Share]) -> Result:
    """Return the page of AutoAttack's figures beside the worst cases of the selection tables.

    Args:
        found: What networks withstand under AutoAttack, by data set and network.
        ours: The worst cases, by the same.
    """
    known = [network for network in NETWORKS if (network.dataset, network.name) in found]
    rows, records, points = [], [], {}
    for network in known:
        key = network.dataset, network.name
        (share, device), worst = found[key], ours[key]
        points[key] = 100 * (worst.value - share.value)
        rows.append([TITLES[network.dataset], network.title, worst, share, f"{points[key]:+.1f}"])
        interval = [f"{100 * value:.2f}" for value in (share.value, *share.interval)]
        records.append([*key, share.count, *interval, f"{100 * worst.value:.2f}", f"{points[key]:.1f}", device])
    hidden = points.get(("mnist", "lq"), 0.0)
    others = max((abs(value) for key, value in points.items() if key != ("mnist", "lq")), default=0.0)
    text = TEXT.format(
        count=f"{max((each.share.count for each in found.values()), default=0):,}",
        table=markdown_table(["network", "quantized", "worst case", "AutoAttack", "points"], rows),
        hidden=-hidden,
        others=others,
    )
    return Result(
        name=PAGE,
        title="AutoAttack beside the worst case",
        sections=[Section("", text.strip(), PAGE)],
        facts=[
            f"AutoAttack ran on: {'; '.join(dict.fromkeys(each.device for each in found.values()))}.",
            "The networks are `mnist_adv` and `cifar10_adv` of `saved_models`; CIFAR-10 is the copy with JPEG images "
            "that the latter was trained on.",
            "`python -m research.checks.autoattack --autoattack path/to/auto-attack`; without the path it writes this "
            f"page again from [its CSV file]({PAGE}.csv) and those of the selection tables.",
        ],
        values={},
        headers=HEADERS,
        rows=records,
    )


if __name__ == "__main__":
    sys.exit(main())
