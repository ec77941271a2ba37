"""The commands for TensorFlow Lite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tf_laq.adapters import plan_of
from tf_laq.cli.arguments import check_ending, load_model
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan


def export(
    model: str,
    path: str = "model.tflite",
    plan: str = "",
    layout: str = "auto",
    compress: str = "",
    strict: bool = False,
    min_runtime: str = "",
    compare_sizes: bool = False,
    measure: bool = False,
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
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    from tf_laq.tflite import export_tflite

    check_ending(path, ".tflite", "path")
    loaded = load_model(model, unsafe)
    exported = export_tflite(
        loaded,
        path,
        _plan(plan, model, loaded),
        layout=layout,  # type: ignore[arg-type]  # Any text comes from the command line; it is checked there.
        compress=compress or None,  # type: ignore[arg-type]
        strict=strict,
        min_runtime=min_runtime or None,
        compare_sizes=compare_sizes,
        measure=measure,
    )
    exported.save(Path(path).with_suffix(".export.json"))
    print(exported)


def _plan(plan: str, path: str, model: Any) -> QuantizationPlan | Literal["float32"] | None:
    """Return the plan to export a model by, of which the file is at `path`; None for the one that the model knows."""
    if plan:
        return "float32" if plan == "float32" else QuantizationPlan.load(plan)
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


def inspect(path: str) -> None:
    """Print what a TensorFlow Lite file holds: its weights with their bits and levels, its operators, its runtime.

    Args:
        path: The file; .gz and .xz are read too.
    """
    from tf_laq import tflite

    print(tflite.inspect(path))
