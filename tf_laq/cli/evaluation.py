"""The commands that attack networks and show what came of it."""

from __future__ import annotations

from pathlib import Path

from tf_laq._internal import files
from tf_laq._internal.optional import check_extra
from tf_laq._internal.validation import one_of, whole
from tf_laq.cli.arguments import (
    DataArguments,
    battery_of,
    check_ending,
    expected_clean,
    first_images,
    load_classifiers,
    numbers,
    seam_settings,
    words,
)
from tf_laq.cli.checks import check_battery, check_classifiers, check_file, check_new
from tf_laq.cli.workers import executor_of

# Images in memory with their adversarial examples.
_PART = 1000


def evaluate(
    models: str,
    *,
    data: str = "digits",
    out: str = "evaluation",
    surrogates: str = "",
    float_twins: str = "",
    preset: str = "standard",
    epsilon: str = "",
    norm: str = "linf",
    examples: int = 500,
    attacks: str = "",
    seed: int = 0,
    batch_size: int = 128,
    workers: int = 1,
    overwrite: bool = False,
    output: str = "",
    outputs: str = "",
    bounds: str = "",
    data_format: str = "channels_last",
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Attack saved models and write their accuracy as tables, plots and a page, and their adversarial examples.

    An evaluation that was interrupted goes on where it was, if it is started again with the same arguments.

    Args:
        models: Saved Keras models and TensorFlow Lite files, separated by commas, each a path or name=path. Of a
            trained network of the package, in a folder with its card, the clean accuracy there is expected.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: Results folder.
        surrogates: Models that gray-box examples are made on, in the same form.
        float_twins: Name of a quantized model=path of the model it was made from, whose gradient then helps
            white-box attacks on the quantized one.
        preset: The attacks: standard or strong; with --epsilon also quick, and without it also paper.
        epsilon: Radius of the attacks, such as 8/255 or 0.3; empty for that of digits, mnist and cifar10.
        norm: Norm of the radius: linf or l2.
        examples: Number of test images, from the first on.
        attacks: Columns of the table, separated by commas; empty for all.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
        workers: Number of processes, of one thread each, that share the images; 1 for this one with all threads.
        overwrite: Begin anew if the folder has an evaluation of other models, images or settings, or other results.
        output: Name of the output to attack, of models that have several.
        outputs: logits; or probabilities, whose logarithms are attacked; empty to see by the values.
        bounds: Range of the models' inputs, such as 0,255; empty for 0,1 or what a first Rescaling layer tells.
        data_format: channels_last; or channels_first for models of images (n, channels, height, width).
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_extra("report")
    source = DataArguments(data, size, data_dir, download)
    check_battery(data, preset, epsilon, norm, attacks)
    whole("examples", examples)
    whole("workers", workers)
    check_classifiers(models=models, surrogates=surrogates, float_twins=float_twins)
    seam = seam_settings(output, outputs, bounds, data_format)
    folder = Path(out)
    if not (folder / "examples" / "inputs.json").exists():
        check_new(folder / "report.html", overwrite=overwrite)
    from tf_laq import evaluation, report

    battery = battery_of(data, preset, epsilon, norm)
    battery = battery.only(words(attacks)) if attacks else battery
    dataset = source.load()
    test = first_images(dataset, "test", examples)
    with executor_of(workers) as executor:
        found = evaluation.evaluate(
            load_classifiers(models, "models", seam, dataset, unsafe),
            test.images,
            test.labels,
            battery=battery,
            surrogates=load_classifiers(surrogates, "surrogates", seam, dataset, unsafe),
            float_twins=load_classifiers(float_twins, "float_twins", seam, dataset, unsafe),
            expected_clean=expected_clean(models, data),
            batch_size=batch_size,
            part_size=_PART if executor is None else min(_PART, -(-len(test) // workers)),
            seed=seed,
            folder=folder / "examples",
            overwrite=overwrite,
            executor=executor,
        )
    facts = {"Data set": f"{data}, {found.count} test images", "Models": models, "Seed": str(seed)}
    saved = evaluation.load_examples(folder / "examples")
    with files.replacing_together(folder) as temporary:
        found.write(temporary)
        page = report.write_report(temporary / "report.html", facts=facts, robustness=found, examples=saved)
    print(f"{found}\n\nResults: {folder} (open {folder / page.name})")


def pictures(
    folder: str = "evaluation/examples", *, out: str = "examples.png", count: int = 8, overwrite: bool = False
) -> None:
    """Draw saved adversarial examples: clean, adversarial, the difference times ten, and the predicted classes.

    Args:
        folder: Folder examples of the results of laq evaluate or laq demo, or one .npz file of it.
        out: File to write, ending in .png.
        count: Number of images.
        overwrite: Replace the file if it is there.
    """
    check_ending(out, ".png")
    check_file(folder, "the adversarial examples of at least one model", "laq evaluate --out FOLDER leaves some.")
    check_new(out, overwrite=overwrite)
    from tf_laq.evaluation import load_examples
    from tf_laq.report import draw_examples

    content = draw_examples(load_examples(folder), count=count)
    with files.replacing(out) as temporary:
        temporary.write_bytes(content)
    print(out)


def curve(
    models: str,
    *,
    data: str = "digits",
    out: str = "curve",
    attack: str = "apgd_ce",
    epsilons: str = "0.05,0.1,0.15,0.2,0.3,0.4,0.5",
    norm: str = "linf",
    examples: int = 500,
    seed: int = 0,
    batch_size: int = 128,
    overwrite: bool = False,
    output: str = "",
    outputs: str = "",
    bounds: str = "",
    data_format: str = "channels_last",
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Measure the accuracy of saved models against the strength of an attack, as a table and a plot.

    Args:
        models: Saved Keras models and TensorFlow Lite files, separated by commas, each a path or name=path.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: Results folder.
        attack: Name of an attack inside a ball, such as apgd_ce, pgd or square.
        epsilons: Radii of the ball in pixel units, rising, separated by commas, such as 2/255,8/255.
        norm: Norm of the radii: linf or l2.
        examples: Number of test images, from the first on.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
        overwrite: Replace the curve that the folder has.
        output: Name of the output to attack, of models that have several.
        outputs: logits; or probabilities, whose logarithms are attacked; empty to see by the values.
        bounds: Range of the models' inputs, such as 0,255; empty for 0,1 or what a first Rescaling layer tells.
        data_format: channels_last; or channels_first for models of images (n, channels, height, width).
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.attacks import registry

    one_of("attack", attack, registry.names())
    strengths = numbers(epsilons, "epsilons")
    source = DataArguments(data, size, data_dir, download)
    whole("examples", examples)
    check_classifiers(models=models)
    seam = seam_settings(output, outputs, bounds, data_format)
    folder = Path(out)
    check_new(folder / "curve.json", overwrite=overwrite)
    from tf_laq import attacks, evaluation
    from tf_laq.report import draw_curve

    # Attacks of one norm only have no such setting.
    chosen = attacks.get(attack, epsilon=strengths[-1], **({"norm": norm} if norm != "linf" else {}))
    dataset = source.load()
    test = first_images(dataset, "test", examples)
    found = evaluation.accuracy_curve(
        load_classifiers(models, "models", seam, dataset, unsafe),
        test.images,
        test.labels,
        attack=chosen,
        epsilons=strengths,
        batch_size=batch_size,
        seed=seed,
    )
    plot = draw_curve(found)
    with files.replacing_together(folder) as temporary:
        found.save(temporary / "curve.json")
        (temporary / "curve.csv").write_text(found.to_csv(), encoding="utf-8")
        (temporary / "curve.txt").write_text(f"{found}\n", encoding="utf-8")
        (temporary / "curve.png").write_bytes(plot)
    print(f"{found}\n\nResults: {folder}")
