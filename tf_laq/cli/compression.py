"""The command that takes a model and data to the file to ship."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tf_laq._internal.validation import whole
from tf_laq.cli.arguments import DataArguments, load_model, radius_of, recipe_of, seam_settings
from tf_laq.cli.checks import check_battery, check_file, check_models, check_needed
from tf_laq.cli.parsing import command_line
from tf_laq.cli.workers import executor_of
from tf_laq.compression.places import FILE, PAGE, RECOMMENDED, RESULTS
from tf_laq.compression.rule import Rule
from tf_laq.tflite.settings import check_settings

if TYPE_CHECKING:
    from tf_laq.compression import Compression


def compress(
    model: str,
    *,
    data: str = "digits",
    out: str = "compressed",
    epsilon: str = "",
    norm: str = "linf",
    preset: str = "strong",
    max_loss: float = 1.0,
    max_bytes: int | None = None,
    fine_tune: bool = False,
    epochs: int | None = None,
    layout: str = "packed",
    examples: int = 1000,
    batch_size: int = 128,
    workers: int = 1,
    seed: int = 0,
    outputs: str = "",
    bounds: str = "",
    data_format: str = "channels_last",
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    overwrite: bool = False,
    unsafe: bool = False,
) -> None:
    """Quantize a model in several ways, attack what can win, and write the smallest file that is as robust.

    Ends with a recommendation, and a table of all that was tried. The folder gets recommended/model.tflite with its
    plan and its Keras model, report.html, and compression.json. A compression that was stopped goes on where it was if
    it is started again.

    Args:
        model: Saved Keras model in full precision, as a rule adversarially trained.
        data: A data set: digits, mnist, cifar10 or another name of TensorFlow Datasets, an .npz file, or a folder of
            images by class.
        out: Results folder.
        epsilon: Radius of the attacks, such as 8/255 or 0.3; empty for that of digits, mnist and cifar10.
        norm: Norm of the radius: linf or l2.
        preset: The attacks of the worst case: strong or standard.
        max_loss: Most points of accuracy that the file may lose, in the worst case and without an attack.
        max_bytes: Largest file.
        fine_tune: Also train what is smaller than the best file, adversarially, under its bits.
        epochs: Passes of --fine_tune through the training images, in place of the recipe's own.
        layout: packed (the fewest bytes), int8 (as fast as float32) or auto, as in laq export.
        examples: Number of test images, from the first on.
        batch_size: Number of images attacked at a time.
        workers: Number of processes, of one thread each, that share the images of an attack, at most 4; 1 for this one
            with all threads.
        seed: Seed of the attacks and the training.
        outputs: logits; or probabilities, whose logarithms are attacked; empty to see by the values.
        bounds: Range of the model's inputs, such as 0,255; empty for 0,1 or what a first Rescaling layer tells.
        data_format: channels_last; or channels_first for models of images (n, channels, height, width).
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        overwrite: Begin anew if the folder has a compression of another model, radius, layout or seed, or other data.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    command = command_line(compress, locals())
    check_models(model)
    source = DataArguments(data, size, data_dir, download)
    check_battery(data, preset, epsilon, norm)
    rule = Rule(max_loss=max_loss, max_bytes=max_bytes)
    if not fine_tune:
        check_needed("fine_tune", epochs=epochs)
    whole("examples", examples)
    whole("workers", workers)
    check_settings(layout, compress=None, min_runtime=None)
    from tf_laq import compression
    from tf_laq.evaluation import Classifier

    recipe = recipe_of(data, "finetune", epsilon, norm, epochs) if fine_tune else None
    with executor_of(workers) as executor:
        result = compression.compress(
            Classifier(load_model(model, unsafe), **seam_settings("", outputs, bounds, data_format)),
            source.load(seed),
            out=out,
            epsilon=radius_of(epsilon),
            norm=norm,
            preset=preset,
            rule=rule,
            fine_tune=recipe,
            layout=layout,  # type: ignore[arg-type]  # Any text comes from the command line; it is checked there.
            examples=examples,
            batch_size=batch_size,
            seed=seed,
            overwrite=overwrite,
            command=command,
            executor=executor,
        )
    show(out, result)


def report(folder: str = "results") -> None:
    """Draw the page of a finished compression again.

    Args:
        folder: Results folder of laq compress or laq demo.
    """
    results = Path(folder) / RESULTS
    remedy = "Give the folder that --out named; without it, laq compress writes to compressed and laq demo to results."
    check_file(results, "the results of laq compress or laq demo", remedy)
    from tf_laq import compression

    print(compression.write_page(folder, compression.Compression.load(results)))


def show(folder: str, result: Compression) -> None:
    """Print what came of a compression, and where it is."""
    place = Path(folder)
    print(f"\n{result}\n\nThe file to ship: {place / RECOMMENDED / FILE} (report: {place / PAGE})")
