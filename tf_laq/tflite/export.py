"""Exporting a model: convert, run the result, compare it with the model, and only then put it in place."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq import files, quantizers
from tf_laq.adapters import adapter_of
from tf_laq.errors import InputError
from tf_laq.plan import FLOAT_BITS, PlanEntry, QuantizationPlan
from tf_laq.sensitivity import WeightTensor
from tf_laq.tflite.conversion import convert
from tf_laq.tflite.report import ExportError, ExportReport, Parity, TensorExport
from tf_laq.tflite.running import TFLiteModel

TOLERANCE = 1e-4
"""Largest accepted |file - model|, in units of max(1, max |model|); another order of sums gives 1e-6."""

_RANDOM_IMAGES = 32
_FLOAT_BYTES = FLOAT_BITS // 8


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    plan: QuantizationPlan | None = None,
    *,
    images: npt.ArrayLike | None = None,
) -> ExportReport:
    """Write a model as a TensorFlow Lite file that computes what the model computes.

    The file takes one image at a time and uses built-in operators only. Before it takes its place it is run
    in the stock runtime and its outputs are compared with the model's: a difference above
    1e-4 * max(1, max |output|) refuses the export, and whatever was at `path` stays.

    Args:
        model: A built tf_keras model with one input: float, wrapped (it is stripped) or baked.
        path: The file to write.
        plan: The quantization plan. A float model is quantized by it first; a wrapped or baked one must have
            its weights on the plan's levels.
        images: At least 16 images to compare on, shape (n, height, width, channels); None for 32 random
            ones.

    Returns:
        What was written, with the size of every weight tensor and the comparison.

    Raises:
        ExportError: The weights are not on the plan's levels, a layer cannot be converted, or the outputs of
            the file differ from the model's.
        InputError: The plan is for another model, or an argument is wrong.
    """
    plain = _plain(model, plan)
    image_shape = _image_shape(plain)
    inputs = _comparison_images(images, image_shape)
    content = convert(plain, image_shape)
    parity = _compare(content, plain, inputs)
    if not parity.holds:
        raise ExportError(
            f"model {plain.name!r}",
            expected=f"a file whose outputs are within {parity.tolerance:.2g} of the model's",
            received=f"outputs that differ by up to {parity.max_difference:.2g} on {parity.images} images",
            remedy="Check the model for NaN weights and for layers that are random in inference mode.",
        )
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    tensors = _tensors(plain, plan)
    rest = sum(int(np.prod(v.shape)) for v in plain.variables) - sum(int(np.prod(t.shape)) for t in tensors)
    return ExportReport(
        path=str(path),
        file_bytes=len(content),
        float_bytes=len(content),
        limit_bytes=sum(tensor.limit_bytes for tensor in tensors) + _FLOAT_BYTES * rest,
        tensors=tensors,
        parity=parity,
    )


def _plain(model: Any, plan: QuantizationPlan | None) -> Any:
    """Return the model without wrappers and, if there is a plan, with its weights on the plan's levels."""
    adapter = adapter_of(model)
    wrapped = adapter.is_wrapped(model)
    plain = adapter.strip(model) if wrapped else model
    if plan is None:
        return plain
    baked = adapter.bake(plain, plan)  # Refuses a plan that is for another model.
    values = {(t.layer, t.weight): t.values for t in adapter.find_weights(plain)[0]}
    entries = [entry for entry in plan.entries if entry.quantizer is not None]
    off = [entry for entry in entries if not _on_levels(entry, values[entry.layer, entry.weight])]
    if not off:
        return plain
    if not wrapped and all(
        _is_float(values[e.layer, e.weight]) or _is_constant(values[e.layer, e.weight]) for e in entries
    ):
        return baked
    raise ExportError(
        f"layer {off[0].layer!r}, weight {off[0].weight!r}",
        expected=f"values on the levels of the plan's quantizer ({off[0].quantizer}, {off[0].bits} bits)",
        received=f"other values ({len(off)} of {len(entries)} weights are off their levels)",
        remedy="Export the float model with the plan, or the quantized model with the plan it was made by.",
    )


def _on_levels(entry: PlanEntry, values: npt.NDArray[np.float32]) -> bool:
    """Return whether values are on the levels of their planned quantizer."""
    quantizer = quantizers.get(entry.quantizer or "", entry.bits)
    projected = quantizer.quantize(values)
    if np.array_equal(projected, values):
        return True
    # The levels of some quantizers move when computed anew from quantized values: there, only count them.
    moves = not np.array_equal(quantizer.quantize(projected), projected)
    return moves and np.unique(values).size <= 2**entry.bits


def _is_float(values: npt.NDArray[np.float32]) -> bool:
    """Return whether values look trained: most that are not zero differ, or too many do for any quantizer."""
    present = values[values != 0]
    return bool(np.unique(present).size > min(present.size / 2, 2**16))


def _is_constant(values: npt.NDArray[np.float32]) -> bool:
    return bool(values.min() == values.max())


def _image_shape(model: Any) -> tuple[int, ...]:
    shape = adapter_of(model).input_shape(model)
    sides = tuple(side for side in shape[1:] if side is not None)
    if len(sides) != len(shape) - 1:
        raise InputError(
            f"input of model {model.name!r}",
            expected="fixed sizes, since the file takes images of one size",
            received=f"shape {shape}",
            remedy="Build the model with an Input of the size it will be used at.",
        )
    return sides


def _comparison_images(images: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if images is None:
        return np.random.default_rng(0).random((_RANDOM_IMAGES, *shape), dtype=np.float32)
    given = np.asarray(images, dtype=np.float32)
    if given.shape[1:] != shape or len(given) < _RANDOM_IMAGES // 2:
        raise InputError(
            "images",
            expected=f"at least {_RANDOM_IMAGES // 2} of shape {shape}",
            received=f"shape {given.shape}",
        )
    return given


def _compare(content: bytes, model: Any, images: npt.NDArray[np.float32]) -> Parity:
    outputs = TFLiteModel(content, f"the file made from model {model.name!r}")(images)
    expected = np.asarray(model(images, training=False), dtype=np.float32)
    magnitude = float(np.abs(expected).max())
    return Parity(
        images=len(images),
        max_difference=float(np.abs(outputs - expected).max()),
        max_output=magnitude,
        tolerance=TOLERANCE * max(1.0, magnitude),
        differing_predictions=int(np.sum(outputs.argmax(-1) != expected.argmax(-1))),
    )


def _tensors(model: Any, plan: QuantizationPlan | None) -> tuple[TensorExport, ...]:
    planned = {(e.layer, e.weight): e for e in plan.entries} if plan else {}
    return tuple(_tensor(t, planned.get((t.layer, t.weight))) for t in adapter_of(model).find_weights(model)[0])


def _tensor(tensor: WeightTensor, entry: PlanEntry | None) -> TensorExport:
    float_bytes = _FLOAT_BYTES * tensor.values.size
    return TensorExport(
        tensor.layer,
        tensor.weight,
        tuple(tensor.values.shape),
        quantizer=entry.quantizer if entry else None,
        bits=entry.bits if entry else FLOAT_BITS,
        limit_bytes=entry.bytes if entry else float_bytes,
        stored_dtype="float32",
        stored_bytes=float_bytes,
    )
