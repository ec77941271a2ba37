"""The commands that attack networks and show what came of it."""

from __future__ import annotations

from pathlib import Path

from tf_laq._internal import files
from tf_laq.cli.arguments import (
    check_ending,
    expected_clean,
    first_images,
    load_classifiers,
    numbers,
    seam_settings,
    words,
)


def evaluate(
    models: str,
    dataset: str = "digits",
    out: str = "evaluation",
    surrogates: str = "",
    float_twins: str = "",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    seed: int = 0,
    batch_size: int = 128,
    overwrite: bool = False,
    output: str = "",
    outputs: str = "",
    bounds: str = "",
    data_format: str = "channels_last",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Attack saved models and write their accuracy as tables, plots and a page, and their adversarial examples.

    An evaluation that was interrupted goes on where it was, if it is started again with the same arguments.

    Args:
        models: Saved Keras models and TensorFlow Lite files, separated by commas, each a path or name=path. Of a
            trained network of the package, in a folder with its card, the clean accuracy there is expected.
        dataset: digits, mnist or cifar10.
        out: Results folder.
        surrogates: Models that gray-box examples are made on, in the same form.
        float_twins: Name of a quantized model=path of the model it was made from, whose gradient then helps
            white-box attacks on the quantized one.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images, from the first on.
        attacks: Columns of the table, separated by commas; empty for all.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
        overwrite: Begin anew if the folder has an evaluation of other models, images or settings.
        output: Name of the output to attack, of models that have several.
        outputs: logits; or probabilities, whose logarithms are attacked; empty to see by the values.
        bounds: Range of the models' inputs, such as 0,255; empty for 0,1 or what a first Rescaling layer tells.
        data_format: channels_last; or channels_first for models of images (n, channels, height, width).
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq import evaluation, report
    from tf_laq.attacks import Battery

    battery = Battery.preset(dataset, preset)
    battery = battery.only(words(attacks)) if attacks else battery
    test = first_images(dataset, "test", examples, download=download)
    folder = Path(out)
    seam = seam_settings(output, outputs, bounds, data_format)
    found = evaluation.evaluate(
        load_classifiers(models, "models", seam, unsafe),
        test.images,
        test.labels,
        battery=battery,
        surrogates=load_classifiers(surrogates, "surrogates", seam, unsafe),
        float_twins=load_classifiers(float_twins, "float_twins", seam, unsafe),
        expected_clean=expected_clean(models, dataset),
        batch_size=batch_size,
        seed=seed,
        folder=folder / "examples",
        overwrite=overwrite,
    )
    found.write(folder)
    facts = {"Data set": f"{dataset}, {found.count} test images", "Models": models, "Seed": str(seed)}
    saved = evaluation.load_examples(folder / "examples")
    page = report.write_report(folder / "report.html", facts=facts, robustness=found, examples=saved)
    print(f"{found}\n\nResults: {folder} (open {page})")


def pictures(folder: str = "evaluation/examples", out: str = "examples.png", count: int = 8) -> None:
    """Draw saved adversarial examples: clean, adversarial, the difference times ten, and the predicted classes.

    Args:
        folder: Folder examples of the results of laq evaluate or laq demo, or one .npz file of it.
        out: File to write, ending in .png.
        count: Number of images.
    """
    from tf_laq.evaluation import load_examples
    from tf_laq.report import draw_examples

    check_ending(out, ".png")
    content = draw_examples(load_examples(folder), count=count)
    with files.replacing(out) as temporary:
        temporary.write_bytes(content)
    print(out)


def report(folder: str = "results") -> None:
    """Draw the plots and the page of a finished experiment again.

    Args:
        folder: Results folder of laq demo.
    """
    from tf_laq.report import Summary

    print(Summary.load(Path(folder) / "experiment.json").write_report(folder))


def curve(
    models: str,
    dataset: str = "digits",
    out: str = "curve",
    attack: str = "apgd_ce",
    epsilons: str = "0.05,0.1,0.15,0.2,0.3,0.4,0.5",
    examples: int = 500,
    seed: int = 0,
    batch_size: int = 128,
    output: str = "",
    outputs: str = "",
    bounds: str = "",
    data_format: str = "channels_last",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Measure the accuracy of saved models against the strength of an attack, as a table and a plot.

    Args:
        models: Saved Keras models and TensorFlow Lite files, separated by commas, each a path or name=path.
        dataset: digits, mnist or cifar10.
        out: Results folder.
        attack: Name of an attack inside a ball, such as apgd_ce, pgd or square.
        epsilons: L-inf radii of the ball in pixel units, rising, separated by commas.
        examples: Number of test images, from the first on.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
        output: Name of the output to attack, of models that have several.
        outputs: logits; or probabilities, whose logarithms are attacked; empty to see by the values.
        bounds: Range of the models' inputs, such as 0,255; empty for 0,1 or what a first Rescaling layer tells.
        data_format: channels_last; or channels_first for models of images (n, channels, height, width).
        download: Download the data set if it is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq import attacks, evaluation
    from tf_laq.report import draw_curve

    strengths = numbers(epsilons, "epsilons")
    chosen = attacks.get(attack, epsilon=strengths[-1])
    test = first_images(dataset, "test", examples, download=download)
    seam = seam_settings(output, outputs, bounds, data_format)
    found = evaluation.accuracy_curve(
        load_classifiers(models, "models", seam, unsafe),
        test.images,
        test.labels,
        attack=chosen,
        epsilons=strengths,
        batch_size=batch_size,
        seed=seed,
    )
    folder = Path(out)
    found.save(folder / "curve.json")
    files.write_text(folder / "curve.csv", found.to_csv())
    files.write_text(folder / "curve.txt", f"{found}\n")
    with files.replacing(folder / "curve.png") as part:
        part.write_bytes(draw_curve(found))
    print(f"{found}\n\nResults: {folder}")
