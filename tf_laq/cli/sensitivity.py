"""The command that asks what predicts the loss from quantizing a layer."""

from __future__ import annotations

from pathlib import Path

from tf_laq.errors import InputError
from tf_laq.saving import load_model


def sensitivity(
    model: str = "mnist_adv",
    dataset: str = "",
    out: str = "sensitivity",
    cache: str = "runs",
    quantizer: str = "",
    bits: str = "2,3,4,5,6",
    max_settings: int | None = None,
    examples: int = 200,
    steps: int = 20,
    queries: int = 300,
    epsilon: float | None = None,
    calibration: int = 64,
    seed: int = 0,
) -> None:
    """Quantize one layer at a time, attack, and rank what may predict the loss: norms, gradients, outputs.

    A run that was killed goes on where it was, if it is started again with the same cache.

    Args:
        model: Name of a trained network that comes with the package, or a saved Keras model with logits as outputs.
        dataset: digits, mnist or cifar10; empty for that of a network that comes with the package.
        out: Folder of the page, the CSV file and the plots.
        cache: Folder of the measured losses.
        quantizer: Quantizers to try (<quantizers>), separated by commas; empty for all.
        bits: Bit widths to try, separated by commas.
        max_settings: Most layers times quantizers times bits: with fewer than all, some layers are drawn.
        examples: Number of test images that the float network withstands, to be attacked again.
        steps: Steps of Auto-PGD.
        queries: Queries of Square.
        epsilon: L-inf radius of the attacks in pixel units; the data set's customary one unless told.
        calibration: Number of training images that predictors with data look at.
        seed: Seed of the attacks and of the layers that are drawn.
    """
    from research import layer_study
    from tf_laq import models

    cards = models.trained()
    if model in cards:
        network, dataset = models.load(model), dataset or cards[model].dataset
    elif dataset:
        network = load_model(model)
    else:
        raise InputError(
            "dataset",
            expected=f"a data set for {model}",
            received="none",
            remedy=f"Known networks: {', '.join(cards)}.",
        )
    changes = {
        "max_settings": max_settings,
        "examples": examples,
        "steps": steps,
        "queries": queries,
        "epsilon": epsilon,
        "calibration": calibration,
        "seed": seed,
    }
    given = {"dataset": dataset, "quantizer": quantizer or None, "bits": bits, **changes}
    options = " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)
    page = layer_study.study(
        network,
        dataset,
        name=Path(model).stem,
        out=out,
        cache=cache,
        command=f"laq sensitivity {model} {options}",
        methods=tuple(part.strip() for part in quantizer.split(",") if part.strip()) or None,
        bits=_widths(bits),
        **changes,
    )
    print(f"\n{page}")


def _widths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise InputError("bits", expected="whole numbers, separated by commas", received=repr(text))
    return tuple(dict.fromkeys(map(int, parts)))
