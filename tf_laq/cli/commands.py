"""The commands: each turns text into the arguments of a library function and prints what it returns."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_laq._internal.validation import one_of, whole
from tf_laq.cli import evaluation, retraining, tflite
from tf_laq.cli.arguments import check_ending, words
from tf_laq.cli.checks import check_battery, check_data, check_recipe, check_same_command
from tf_laq.cli.quantization import quantize


def demo(
    dataset: str = "digits",
    out: str = "results",
    recipe: str = "fast",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    surrogates: str = "twin",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    overwrite: bool = False,
    download: bool = False,
) -> None:
    """Run the whole experiment: train, quantize in three ways, attack, export, report.

    Trains an adversarially robust network and an independent twin, quantizes the first to 3-bit linear (q1),
    3-bit log (q2) and by Algorithm 1 (lq), attacks all four, and writes tables, plots, report.html and
    lq.tflite. Networks that an earlier run left in the folder are used again.

    Args:
        dataset: digits, mnist or cifar10.
        out: Results folder.
        recipe: Training recipe: fast, or full.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images to attack.
        attacks: Columns of the table, separated by commas; empty for all.
        surrogates: What gray-box examples are made on: twin, or twin,adv.
        keras: Version of Keras that the networks are built with: 2 (tf_keras) or 3.
        seed: Seed of the network and the attacks; the twin has the next one.
        retrain: Train even where the folder has the network.
        overwrite: Replace what another command left in the folder.
        download: Download the data set if it is not there.
    """
    settings: dict[str, Any] = {"out": out, "recipe": recipe, "preset": preset, "examples": examples}
    settings |= {"keras": keras, "seed": seed}
    given = {"dataset": dataset, **settings, "attacks": attacks, "surrogates": surrogates}
    flags = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value != ""]
    command = " ".join(["laq demo", *flags])
    check_data(dataset)
    check_battery(dataset, preset, attacks)
    whole("examples", examples)
    one_of("keras", keras, (2, 3))
    check_same_command(out, command, overwrite)
    check_recipe(dataset, recipe)
    from tf_laq import datasets, demo

    summary = demo.run(
        datasets.load(dataset, seed=seed, download=True) if download else dataset,
        **settings,
        attacks=words(attacks) or None,
        surrogates=words(surrogates),
        retrain=retrain,
        command=command,
    )
    page = Path(out) / "report.html"
    print(f"\n{summary.plans['lq']}\n\n{summary}\n\nResults: {out} (open {page})")


def train(
    dataset: str = "digits",
    out: str = "model.keras",
    recipe: str = "fast",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    overwrite: bool = False,
    download: bool = False,
) -> None:
    """Train a network adversarially and save it.

    A file that was trained with the same data set, recipe and seed is left as it is, unless it is to be retrained.

    Args:
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras; what it was trained with goes beside it, into .training.json.
        recipe: Training recipe: fast, full, plain (no attack); other networks: madry and separable for mnist, wide for
            cifar10.
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the weights, the order of the images and the random starts.
        retrain: Train even if the file was trained with the same.
        overwrite: Replace a file that was not.
        download: Download the data set if it is not there.
    """
    check_ending(out, ".keras")
    check_data(dataset)
    one_of("keras", keras, (2, 3))
    check_recipe(dataset, recipe)
    from tf_laq import datasets
    from tf_laq.training import trained_model

    data = datasets.load(dataset, seed=seed, download=True) if download else dataset
    model = trained_model(data, recipe, out, keras=keras, seed=seed, retrain=retrain, overwrite=overwrite)
    print(f"{out}: {model.name}, {model.count_params():,} parameters; see laq evaluate for its accuracy")


COMMANDS: dict[str, Callable[..., object]] = {
    "demo": demo,
    "train": train,
    "quantize": quantize,
    "finetune": retraining.finetune,
    "match": retraining.match,
    "correct": retraining.correct,
    "recalibrate": retraining.recalibrate,
    "evaluate": evaluation.evaluate,
    "pictures": evaluation.pictures,
    "curve": evaluation.curve,
    "export": tflite.export,
    "inspect": tflite.inspect,
    "report": evaluation.report,
}
