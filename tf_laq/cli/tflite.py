"""The commands for TensorFlow Lite files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tf_laq._internal import files
from tf_laq.adapters import plan_of
from tf_laq.cli.arguments import check_ending, load_model
from tf_laq.cli.checks import check_models, check_new
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.tflite.verifying import MAX_BYTES


def export(
    model: str,
    path: str = "model.tflite",
    *,
    plan: str = "",
    layout: str = "auto",
    compress: str = "",
    strict: bool = False,
    min_runtime: str = "",
    compare_sizes: bool = False,
    measure: bool = False,
    overwrite: bool = False,
    unsafe: bool = False,
) -> None:
    """Write a model as a TensorFlow Lite file, after checking that the file computes what the model computes.

    Args:
        model: Saved Keras model: float, or quantized by laq.
        path: File to write, ending in .tflite; the report goes beside it, into .export.json.
        plan: The plan's JSON file, by which a float model is quantized and which a quantized one must fit, or float32
            for no plan; empty for the plan that the model knows, or else the .plan.json beside it.
        layout: int8 (8 bits a weight, as fast as float32), packed (the fewest bytes, slower convolutions), or auto
            (packed dense layers and embeddings, int8 convolutions); in each, zeros are left out where most weights
            are zero.
        compress: gz or xz: write a compressed file beside it.
        strict: Refuse a plan with a weight that the layout can only store in float16 or float32.
        min_runtime: The oldest TensorFlow Lite runtime to load the file in, such as 2.7.
        compare_sizes: Print the sizes of the stock converter's float16 and Optimize.DEFAULT files too.
        measure: Measure latency and peak memory on this machine, beside those of the float32 file.
        overwrite: Replace the files if they are there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.tflite.settings import check_settings

    check_ending(path, ".tflite", "path")
    check_settings(layout, compress or None, min_runtime or None)
    check_models(model)
    given = QuantizationPlan.load(plan) if plan not in ("", "float32") else plan
    report = Path(path).with_suffix(".export.json")
    compressed = [f"{path}.{compress}"] if compress else []
    check_new(path, report, *compressed, overwrite=overwrite, argument="path")
    from tf_laq.tflite import export_tflite

    loaded = load_model(model, unsafe)
    chosen = given or _known_plan(model, loaded)
    with files.replacing_together(report.parent) as temporary:
        written = export_tflite(
            loaded,
            temporary / Path(path).name,
            chosen,  # type: ignore[arg-type]  # A text is "float32".
            layout=layout,  # type: ignore[arg-type]  # Any text comes from the command line; it is checked there.
            compress=compress or None,  # type: ignore[arg-type]
            strict=strict,
            min_runtime=min_runtime or None,
            compare_sizes=compare_sizes,
            measure=measure,
        )
        exported = dataclasses.replace(written, path=path, compressed=compressed[0] if compressed else None)
        exported.save(temporary / report.name)
    print(exported)


def _known_plan(path: str, model: Any) -> QuantizationPlan | None:
    """Return the plan beside the file of a model, or None if the model knows its plan."""
    if plan_of(model) is not None:
        return None
    beside = Path(path).with_suffix(".plan.json")
    if not beside.is_file():
        raise InputError(
            "plan",
            expected=f"one in the model, or beside it as {beside}",
            received="a model without any",
            remedy="Quantize the model with laq quantize, give --plan FILE, or --plan float32 to export it as it is.",
        )
    return QuantizationPlan.load(beside)


def inspect(path: str, *, plan: str = "", max_bytes: int = MAX_BYTES) -> None:
    """Print what a TensorFlow Lite file holds: its weights with their bits and levels, its operators, its runtime.

    Args:
        path: The file; .gz and .xz are read too.
        plan: A plan's JSON file: refuse a file that was made by another plan.
        max_bytes: The limit of the decompressed file, of all constants in it together, and of every tensor.
    """
    if Path(path).suffix in (".keras", ".h5"):
        remedy = "laq export writes a model as a TensorFlow Lite file."
        raise InputError(path, expected="a whole TensorFlow Lite file", received="a Keras model", remedy=remedy)
    expected = QuantizationPlan.load(plan).digest if plan else ""
    from tf_laq import tflite

    contents = tflite.inspect(path, max_bytes=max_bytes)
    if expected and contents.plan != expected:
        raise InputError(
            "plan",
            expected=f"the one that {path} was made by ({contents.plan or 'it names none'})",
            received=f"{plan} ({expected})",
            remedy="Give the plan that the exported model was quantized by, or export the model of this one.",
        )
    print(contents)
