"""The commands: each turns text into the arguments of a library function and prints what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_laq import datasets
from tf_laq._internal.optional import check_extra
from tf_laq._internal.validation import one_of, whole
from tf_laq.cli import compression, evaluation, retraining, tflite
from tf_laq.cli.arguments import DataArguments, check_ending, load_model, recipe_of
from tf_laq.cli.checks import check_battery, check_same_command
from tf_laq.cli.parsing import command_line
from tf_laq.cli.quantization import quantize
from tf_laq.compression.rule import Rule


def demo(
    *,
    data: str = "digits",
    out: str = "results",
    recipe: str = "fast",
    preset: str = "strong",
    examples: int = 500,
    max_loss: float = 1.0,
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    overwrite: bool = False,
    data_dir: str = "",
    download: bool = False,
) -> None:
    """Do the main job on an example: train a network adversarially, and compress it.

    The paper's models are among the candidates: 3-bit linear everywhere (q1), 3-bit log (q2) and Algorithm 1 (lq).
    Ends with a recommendation and a table of all candidates; writes recommended/model.tflite and report.html. A network
    that an earlier run left in the folder is used again.

    Args:
        data: digits, mnist or cifar10.
        out: Results folder.
        recipe: Training recipe: fast, or full.
        preset: The attacks of the worst case: strong, standard or paper.
        examples: Number of test images to attack.
        max_loss: Most points of accuracy that the file may lose, in the worst case and without an attack.
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the network and the attacks.
        retrain: Train even where the folder has the network.
        overwrite: Replace what another command left in the folder.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
    """
    command = command_line(demo, locals())
    check_extra("report")
    one_of("data", data, datasets.names())
    source = DataArguments(data, data_dir=data_dir, download=download)
    check_battery(data, preset)
    rule = Rule(max_loss=max_loss)
    whole("examples", examples)
    one_of("keras", keras, (2, 3))
    check_same_command(out, command, overwrite)
    from tf_laq.demo import run

    result = run(
        source.load(seed),
        out=out,
        recipe=recipe,
        examples=examples,
        preset=preset,
        rule=rule,
        keras=keras,
        seed=seed,
        retrain=retrain,
        command=command,
    )
    compression.show(out, result)


def train(
    *,
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
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Train a network adversarially and save it.

    A file that was trained with the same data, network, recipe and seed is left as it is, unless it is to be retrained.

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
            cifar10 have. Not for plain.
        norm: Norm of the radius: linf or l2.
        epochs: Passes through the training images, in place of the recipe's own.
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the weights, the order of the images and the random starts.
        retrain: Train even if the file was trained with the same.
        overwrite: Replace a file that was not.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    source = DataArguments(data, size, data_dir, download)
    one_of("keras", keras, (2, 3))
    settings = recipe_of(data, recipe, epsilon, norm, epochs)
    from tf_laq import models
    from tf_laq.training import trained_model

    network: Any = model or None
    if model and model not in models.names():
        network = load_model(model, unsafe)
    trained = trained_model(
        source.load(seed),
        settings,
        out,
        model=network,
        keras=keras,
        seed=seed,
        retrain=retrain,
        overwrite=overwrite,
    )
    print(f"{out}: {trained.name}, {trained.count_params():,} parameters; see laq evaluate for its accuracy")


COMMANDS: dict[str, Callable[..., object]] = {
    "demo": demo,
    "compress": compression.compress,
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
    "report": compression.report,
}
