"""The commands: each turns text into the arguments of a library function and prints what it returns."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_laq.cli import evaluation, retraining, tflite
from tf_laq.cli.arguments import DataArguments, check_ending, load_model, recipe_of, words
from tf_laq.cli.quantization import quantize


def demo(
    data: str = "digits",
    out: str = "results",
    recipe: str = "fast",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    surrogates: str = "twin",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
) -> None:
    """Run the whole experiment: train, quantize in three ways, attack, export, report.

    Trains an adversarially robust network and an independent twin, quantizes the first to 3-bit linear (q1),
    3-bit log (q2) and by Algorithm 1 (lq), attacks all four, and writes tables, plots, report.html and
    lq.tflite. Networks that an earlier run left in the folder are used again.

    Args:
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: Results folder.
        recipe: Training recipe: fast, or full.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images to attack.
        attacks: Columns of the table, separated by commas; empty for all.
        surrogates: What gray-box examples are made on: twin, or twin,adv.
        keras: Version of Keras that the networks are built with: 2 (tf_keras) or 3.
        seed: Seed of the network and the attacks; the twin has the next one.
        retrain: Train even where the folder has the network.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
    """
    from tf_laq import demo

    settings: dict[str, Any] = {"out": out, "recipe": recipe, "preset": preset, "examples": examples}
    settings |= {"keras": keras, "seed": seed}
    given = {"data": data, **settings, "attacks": attacks, "surrogates": surrogates}
    flags = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value != ""]
    summary = demo.run(
        DataArguments(data, size, data_dir, download).load(seed),
        **settings,
        attacks=words(attacks) or None,
        surrogates=words(surrogates),
        retrain=retrain,
        command=" ".join(["laq demo", *flags]),
    )
    page = Path(out) / "report.html"
    print(f"\n{summary.plans['lq']}\n\n{summary}\n\nResults: {out} (open {page})")


def train(
    data: str = "digits",
    out: str = "model.keras",
    model: str = "",
    recipe: str = "fast",
    epsilon: str = "",
    norm: str = "linf",
    epochs: int | None = None,
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe_lambdas: bool = False,
) -> None:
    """Train a network adversarially and save it.

    A file that was trained with the same data, network, recipe and seed is left as it is.

    Args:
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: File to write, ending in .keras; what it was trained with goes beside it, into .training.json.
        model: Network to train: digits_cnn, mnist_cnn, mnist_cnn_madry, mnist_separable or wide_resnet, or a saved
            Keras model, whose training goes on from its weights. Empty for the network of the recipe, which only
            digits, mnist and cifar10 have.
        recipe: Training recipe: fast, full, plain (no attack); other networks: madry and separable for mnist, wide for
            cifar10.
        epsilon: Radius to withstand, such as 8/255 or 0.3; empty for that of the recipe, which only digits, mnist and
            cifar10 have.
        norm: Norm of the radius: linf or l2.
        epochs: Passes through the training images, in place of the recipe's own.
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the weights, the order of the images and the random starts.
        retrain: Train even if the file is there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe_lambdas: Load models with Python code in them, as in Lambda layers. To load it is to run it.
    """
    from tf_laq import models
    from tf_laq.training import trained_model

    check_ending(out, ".keras")
    source, settings = DataArguments(data, size, data_dir, download), recipe_of(data, recipe, epsilon, norm, epochs)
    network: Any = model or None
    if model and model not in models.names():
        network = load_model(model, unsafe_lambdas)
    trained = trained_model(source.load(seed), settings, out, model=network, keras=keras, seed=seed, retrain=retrain)
    print(f"{out}: {trained.name}, {trained.count_params():,} parameters; see laq evaluate for its accuracy")


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
