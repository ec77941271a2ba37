"""The commands that train a network further, or give it other biases or normalisation statistics."""

from __future__ import annotations

import dataclasses

from tf_laq._internal import files
from tf_laq.cli.arguments import check_ending, first_images, load_model, save


def finetune(
    model: str,
    plan: str,
    dataset: str = "digits",
    out: str = "tuned.keras",
    recipe: str = "finetune",
    examples: str = "both",
    epochs: int | None = None,
    seed: int = 0,
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Train a network adversarially under a plan, and save it with quantized values as weights.

    Args:
        model: Saved Keras model, float, as a rule adversarially trained.
        plan: The plan's JSON file.
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras.
        recipe: Training recipe with an attack.
        examples: What examples are made on: quantized (the network itself), float (the weights underneath), or both.
        epochs: Passes through the training images, in place of the recipe's own.
        seed: Seed of the order of the images and the random starts.
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq import api, datasets
    from tf_laq.plan import QuantizationPlan
    from tf_laq.training import fine_tune, recipe as recipe_named

    check_ending(out, ".keras")
    chosen, settings = QuantizationPlan.load(plan), recipe_named(dataset, recipe)
    settings = settings if epochs is None else dataclasses.replace(settings, epochs=epochs)
    data = datasets.load(dataset, download=True) if download else dataset
    with files.locked(out):
        tuned = fine_tune(load_model(model, unsafe), chosen, data, settings, examples=examples, seed=seed)
        save(api.strip(tuned), out, f"{chosen.average_bits:.2f} bits a weight on average; ")


def match(
    model: str,
    float_twin: str,
    dataset: str = "digits",
    out: str = "matched.keras",
    images: int = 256,
    seed: int = 0,
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the layers of a quantized model the means and variances of its float twin, without training, and save it.

    Half of the images are taken as they are. The others become PGD examples of the float twin in ten steps, in the ball
    of the recipe fast.

    Args:
        model: Saved Keras model, quantized.
        float_twin: The full-precision model that it was made from.
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras.
        images: Number of training images, from the first on. Their labels are not used.
        seed: Seed of the attack.
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.attacks import PGD
    from tf_laq.training import match_statistics, recipe

    check_ending(out, ".keras")
    clean = first_images(dataset, "train", images, "images", download=download).images
    quantized, twin = (load_model(path, unsafe) for path in (model, float_twin))
    attack = PGD(epsilon=(recipe(dataset).attack or {})["epsilon"], steps=10)
    save(match_statistics(quantized, twin, clean, attack=attack, seed=seed), out)


def correct(
    model: str,
    float_twin: str,
    dataset: str = "digits",
    out: str = "corrected.keras",
    images: int = 1000,
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the layers of a quantized model the mean outputs of its float twin, by their biases, and save it.

    Args:
        model: Saved Keras model, quantized.
        float_twin: The full-precision model that it was made from.
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras.
        images: Number of training images to take the means from, from the first on.
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.training import correct_biases

    check_ending(out, ".keras")
    seen = first_images(dataset, "train", images, "images", download=download)
    save(correct_biases(load_model(model, unsafe), load_model(float_twin, unsafe), seen.images), out)


def recalibrate(
    model: str,
    dataset: str = "digits",
    float_twin: str = "",
    out: str = "recalibrated.keras",
    images: int = 1000,
    seed: int = 0,
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Give the batch normalisation of a quantized network the statistics of its own activations, and save it.

    Args:
        model: Saved Keras model, quantized.
        dataset: digits, mnist or cifar10.
        float_twin: The full-precision model that it was made from, if that was trained adversarially: the statistics
            are then those of examples made on it by the attack of the recipe fast. With clean images such a model can
            lose all of its robustness.
        out: File to write, ending in .keras.
        images: Number of training images, from the first on.
        seed: Seed of the attack.
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.adapters import logits_function
    from tf_laq.attacks import PGD
    from tf_laq.training import recalibrate_batch_norm, recipe

    check_ending(out, ".keras")
    clean = first_images(dataset, "train", images, "images", download=download)
    seen = clean.images
    if float_twin:
        attack = PGD(**(recipe(dataset).attack or {}))
        seen = attack(logits_function(load_model(float_twin, unsafe)), seen, clean.labels, seed=seed)
    save(recalibrate_batch_norm(load_model(model, unsafe), seen), out)
