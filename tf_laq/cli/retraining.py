"""The commands that train a network further, or give it other biases or normalisation statistics."""

from __future__ import annotations

from typing import Any

from tf_laq._internal.messages import print_now
from tf_laq._internal.validation import whole
from tf_laq.adapters import check_float, plan_of
from tf_laq.cli.arguments import (
    DataArguments,
    battery_of,
    check_ending,
    first_images,
    load_model,
    recipe_of,
    save,
)
from tf_laq.cli.checks import check_models, check_needed, check_new
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan


def finetune(
    model: str,
    plan: str,
    *,
    data: str = "digits",
    out: str = "tuned.keras",
    recipe: str = "finetune",
    epsilon: str = "",
    norm: str = "linf",
    examples: str = "both",
    epochs: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Train a network adversarially under a plan, and save it with quantized values as weights.

    Args:
        model: Saved Keras model, float, as a rule adversarially trained.
        plan: The plan's JSON file.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: File to write, ending in .keras.
        recipe: Training recipe with an attack: finetune, fast or full.
        epsilon: Radius of the attack, such as 8/255 or 0.3; empty for that of digits, mnist and cifar10.
        norm: Norm of the radius: linf or l2.
        examples: What examples are made on: quantized (the network itself), float (the weights underneath), or both.
        epochs: Passes through the training images, in place of the recipe's own.
        seed: Seed of the order of the images and the random starts.
        overwrite: Replace the file if it is there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    check_models(model)
    chosen = QuantizationPlan.load(plan)
    source = DataArguments(data, size, data_dir, download)
    check_new(out, overwrite=overwrite)
    settings = recipe_of(data, recipe, epsilon, norm, epochs)
    from tf_laq import api
    from tf_laq.training import fine_tune

    network = load_model(model, unsafe)
    print_now(f"Fine-tune {model} adversarially on {data} by {plan}: {settings.epochs} epochs, seed {seed}")
    tuned = fine_tune(network, chosen, source.load(), settings, examples=examples, seed=seed)
    save(api.strip(tuned), out, f"{chosen.average_bits:.2f} bits a weight on average; ")


def match(
    model: str,
    float_twin: str,
    *,
    data: str = "digits",
    out: str = "matched.keras",
    images: int = 256,
    epsilon: str = "",
    norm: str = "linf",
    seed: int = 0,
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the layers of a quantized model the means and variances of its float twin, without training, and save it.

    Half of the images are taken as they are. The others become PGD examples of the float twin in ten steps.

    Args:
        model: Saved Keras model, quantized.
        float_twin: The full-precision model that it was made from.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: File to write, ending in .keras.
        images: Number of training images, from the first on. Their labels are not used.
        epsilon: Radius of the attack, such as 8/255 or 0.3; empty for that of digits, mnist and cifar10.
        norm: Norm of the radius: linf or l2.
        seed: Seed of the attack.
        overwrite: Replace the file if it is there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    check_models(model, float_twin)
    source = DataArguments(data, size, data_dir, download)
    whole("images", images)
    check_new(out, overwrite=overwrite)
    from tf_laq.training import match_statistics

    attack = battery_of(data, "standard", epsilon, norm).correction_attack
    clean = first_images(source.load(), "train", images, "images").images
    quantized, twin = _pair(model, float_twin, unsafe)
    save(match_statistics(quantized, twin, clean, attack=attack, seed=seed), out)


def correct(
    model: str,
    float_twin: str,
    *,
    data: str = "digits",
    out: str = "corrected.keras",
    images: int = 1000,
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the layers of a quantized model the mean outputs of its float twin, by their biases, and save it.

    Args:
        model: Saved Keras model, quantized.
        float_twin: The full-precision model that it was made from.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: File to write, ending in .keras.
        images: Number of training images to take the means from, from the first on.
        overwrite: Replace the file if it is there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    check_models(model, float_twin)
    source = DataArguments(data, size, data_dir, download)
    whole("images", images)
    check_new(out, overwrite=overwrite)
    from tf_laq.training import correct_biases

    seen = first_images(source.load(), "train", images, "images")
    save(correct_biases(*_pair(model, float_twin, unsafe), seen.images), out)


def recalibrate(
    model: str,
    *,
    data: str = "digits",
    float_twin: str = "",
    out: str = "recalibrated.keras",
    images: int = 1000,
    epsilon: str = "",
    norm: str = "",
    seed: int | None = None,
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the batch normalisation of a quantized network the statistics of its own activations, and save it.

    Args:
        model: Saved Keras model, quantized.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        float_twin: The full-precision model that it was made from, if that was trained adversarially: the statistics
            are then those of examples made on it by the attack of the recipe fast, in the ball of the radius if there
            is one. With clean images such a model can lose all of its robustness.
        out: File to write, ending in .keras.
        images: Number of training images, from the first on.
        epsilon: Radius of the attack, such as 8/255 or 0.3; empty for that of digits, mnist and cifar10.
        norm: Norm of the radius: linf, unless told, or l2.
        seed: Seed of the attack; 0 unless told.
        overwrite: Replace the file if it is there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    check_models(model, *([float_twin] if float_twin else []))
    if not float_twin:
        check_needed("float_twin", epsilon=epsilon, norm=norm, seed=seed)
    source = DataArguments(data, size, data_dir, download)
    whole("images", images)
    check_new(out, overwrite=overwrite)
    from tf_laq.adapters import logits_function
    from tf_laq.attacks import PGD
    from tf_laq.evaluation.classifier import Classifier, settled_on
    from tf_laq.training import recalibrate_batch_norm

    settings = recipe_of(data, "fast", epsilon, norm or "linf").attack if float_twin else None
    dataset = source.load()
    clean = first_images(dataset, "train", images, "images")
    seen = clean.images
    if settings is not None:
        twin = load_model(float_twin, unsafe)
        check_float("float_twin", twin)
        settled_on(Classifier(twin), dataset, "float_twin")
        seen = PGD(**settings)(logits_function(twin), seen, clean.labels, seed=seed or 0)
    save(recalibrate_batch_norm(load_model(model, unsafe), seen), out)


def _pair(model: str, float_twin: str, unsafe: bool) -> tuple[Any, Any]:
    """Return a quantized model and its float twin.

    Raises:
        InputError: One cannot be loaded, or the first knows no plan.
    """
    quantized, twin = load_model(model, unsafe), load_model(float_twin, unsafe)
    if plan_of(quantized) is None:
        raise InputError(
            "model",
            expected="a quantized model, which knows its plan",
            received=f"{model}, which knows none",
            remedy="Give the quantized model first, then the full-precision model that it was made from. In Python, "
            "laq.training takes models that were quantized by other means too.",
        )
    return quantized, twin
