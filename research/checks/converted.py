r"""Put a network that was trained in PyTorch into saved_models/, with its card.

    python -m research.checks.converted cifar10_wrn4_adv --weights cifar10_wrn4_adv.npz \
        --about "WRN-32-4, 7.4 million parameters, adversarially trained in PyTorch"

The weights are an .npz file with a key `layer__weight` for each weight of the network, in Keras' layouts, such as
`group1_block1_conv1__kernel`. Beside it lies a .json file of the same name with the settings of the training, its log
and the scores on the test images. The card has them as they are; the command in it is that of the recipe `wide`, which
has these settings as far as a recipe can say them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from research.checks.cards import packed, score, ship
from tf_laq import models
from tf_laq.evaluation import Share
from tf_laq.models import Card

DATASET, NETWORK, OPTIONS = "cifar10", "wide_resnet", {"width": 4}

# What the card has in places of its own.
_ELSEWHERE = ("history", "minutes", "network", "seed", "test")


def network(weights: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Return the network in tf_keras with the weights that are given, as float32.

    Raises:
        SystemExit: A weight is missing, or one is left over.
    """
    model = models.build(NETWORK, **OPTIONS)
    keys = {f"{layer.name}__{_name(weight)}": weight for layer in model.layers for weight in layer.weights}
    for key in sorted(keys.keys() ^ weights.keys()):
        raise SystemExit(f"{key} is only in the {'network' if key in keys else 'file'}.")
    for key, variable in keys.items():
        variable.assign(weights[key].astype(np.float32))
    return model


def _name(weight: Any) -> str:
    return str(weight.name).rpartition("/")[2].removesuffix(":0")


def epochs(history: Sequence[Mapping[str, float]]) -> tuple[Mapping[str, float], ...]:
    """Return a log as cards have it: shares in place of percent; the loss is that of one batch near an epoch's end."""
    names = {"loss": "batch_loss", "val_pgd10": "val_robust_accuracy"}
    return tuple(
        {
            names.get(name, name): round(value / 100, 4) if name.startswith("val_") else float(value)
            for name, value in epoch.items()
        }
        for epoch in history
    )


def scores(test: Mapping[str, float]) -> tuple[Mapping[str, Any], ...]:
    """Return the percentages on the first test images as cards have them.

    Args:
        test: Such as {"clean, first 1,000": 80.6, "PGD-10 (2/255), first 300": 48.7}.
    """
    found = []
    for text, percent in test.items():
        attack, _, count = text.rpartition(", first ")
        shown = {"clean": "none", "PGD-10 (2/255)": "PGD alone (10 steps of 2/255), L-inf 0.03137"}[attack]
        share = Share(round(percent * int(count.replace(",", "")) / 100), int(count.replace(",", "")))
        found.append(score(shown, share, images="the first of the test images"))
    return tuple(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the network, such as cifar10_wrn4_adv")
    parser.add_argument("--weights", type=Path, required=True, help=".npz file, with a .json file beside it")
    parser.add_argument("--about", required=True, help="what it is, in a line")
    options = parser.parse_args(argv)
    training = json.loads(options.weights.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(options.weights, allow_pickle=False) as weights:
        content = packed(network(dict(weights)))
    card = Card(
        name=options.name,
        about=options.about,
        dataset=DATASET,
        network=NETWORK,
        options=OPTIONS,
        recipe={key: value for key, value in training.items() if key not in _ELSEWHERE},
        seed=training["seed"],
        command=f"laq train --dataset {DATASET} --recipe wide --seed {training['seed']} --out model.keras",
        minutes=training["minutes"],
        epochs=epochs(training["history"]),
        scores=scores(training["test"]),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    ship(card, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
