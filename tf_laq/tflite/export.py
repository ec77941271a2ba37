"""Exporting a model: convert, encode, run the result, compare it with the model, and only then put it in place."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tf_laq._internal import files
from tf_laq._internal.typed import typed
from tf_laq.adapters.signature import signature_of
from tf_laq.plan import FLOAT_BITS, PlanEntry, QuantizationPlan
from tf_laq.sensitivity import WeightTensor
from tf_laq.tflite import running, runtime
from tf_laq.tflite.comparison import TOLERANCE, check_parity, file_outputs, own_parity, parity_of
from tf_laq.tflite.contents import FileContents, read_contents
from tf_laq.tflite.conversion import stock_files
from tf_laq.tflite.encodings import Choice, Layout
from tf_laq.tflite.graph import Constant
from tf_laq.tflite.matching import Match
from tf_laq.tflite.packing import pack, plan_for, quantized_model
from tf_laq.tflite.probing import comparison_inputs, outputs_in_float32
from tf_laq.tflite.report import ExportError, ExportReport, TensorExport
from tf_laq.tflite.settings import Compression, check_settings

_COMPRESSORS: dict[Compression, Callable[[bytes], bytes]] = {
    "gz": lambda content: gzip.compress(content, mtime=0),
    "xz": lzma.compress,
}

_FLOAT_BYTES = FLOAT_BITS // 8


@typed
def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    plan: QuantizationPlan | Literal["float32"] | None = None,
    *,
    layout: Layout = "auto",
    compress: Compression | None = None,
    strict: bool = False,
    images: npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike] | None = None,
    min_runtime: str | None = None,
    compare_sizes: bool = False,
    measure: bool = False,
) -> ExportReport:
    """Write a model as a small TensorFlow Lite file that computes what the model computes.

    The file takes one image at a time, under the names and dtypes of the model's inputs, and uses built-in operators
    only. Its planned weights are stored as codes, each exactly the value that the model has. Before it takes its place
    it is run in the stock runtime and its outputs are compared with those of the model given (if that is a float one,
    as the plan quantizes it): a difference above 1e-5 * max |output| refuses the export, and whatever was at `path`
    stays.

    The file computes in float32. A model of another dtype policy, such as mixed_float16, is compared as it computes in
    float32 by the same weights; then once more as it is, with a tolerance of that dtype: 32 times its rounding.
    Recurrent layers start from their initial state for every image, stateful ones too.

    Args:
        model: A built Keras model with one output: float, wrapped (it is stripped) or baked.
        path: The file to write.
        plan: None for the plan that the model was quantized by, or "float32" to leave all weights as they are. A plan
            quantizes a float model first; a wrapped or baked one must have its weights on the plan's levels.
        layout: "int8": 8 bits a weight, or none for zeros where that is smaller; as fast as float32. "packed": the
            fewest bytes; convolutions may become slower. "auto": packed integers for dense layers and embeddings where
            they are smaller, the rest as in "int8".
        compress: "gz" or "xz" to write a compressed file beside it, for downloads; `tflite.load` reads it.
        strict: Refuse a plan with a tensor that the layout can only store in float16 or float32.
        images: At least 16 images to compare on, shape (n, height, width, channels), or a list or dict of arrays for
            several inputs; None for 32 random ones of the inputs' dtypes (token ids where they are looked up).
        min_runtime: The oldest TensorFlow Lite runtime the file has to load in, such as "2.7"; None for any.
        compare_sizes: Convert with float16 and with `Optimize.DEFAULT` too, for their sizes in the report.
        measure: Measure latency (one thread) and, in fresh processes, peak memory for the report; takes seconds.

    Returns:
        What was written, with the encoding and size of every weight tensor, and the comparison.

    Raises:
        ExportError: The weights are not on the plan's levels, one of them is not in the converted file, a layer cannot
            be converted, `strict` is violated, or the outputs of the file differ from the model's.
        InputError: There is no plan, or it is for another model, or an argument is wrong.
    """
    check_settings(layout, compress, min_runtime)
    plan = plan_for(model, plan)
    signature = signature_of(model)
    inputs = comparison_inputs(signature, images)
    quantized = quantized_model(model, plan)
    packed = pack(quantized, plan, signature, min_runtime)
    # Not before the conversion, which takes the most memory: TensorFlow keeps what it once had.
    expected = outputs_in_float32(quantized, signature, inputs)
    float_content, matches = packed.float_content, packed.matches
    content, choices = packed.contents[layout]
    if strict:
        _check_kept(matches, choices, layout)
    float_outputs = file_outputs(float_content, model, inputs)
    outputs = file_outputs(content, model, inputs) if matches else float_outputs
    float_parity, parity = (parity_of(each, expected, TOLERANCE) for each in (float_outputs, outputs))
    check_parity(model, parity, float_parity)
    own = own_parity(quantized, signature, inputs, outputs)
    compressed = None if compress is None else _COMPRESSORS[compress](content)
    compressed_path = None if compress is None else f"{os.fspath(path)}.{compress}"
    _write({path: content} if compressed_path is None else {path: content, compressed_path: compressed or b""})
    runtime.wrote(content)
    stored = read_contents(content)
    stock = stock_files(packed.plain, signature) if compare_sizes else {}
    return ExportReport(
        path=str(path),
        layout=layout,
        file_bytes=len(content),
        float_bytes=len(float_content),
        limit_bytes=_limit(plan, packed.constants, matches),
        layout_bytes={name: len(other) for name, (other, _) in packed.contents.items()},
        other_bytes={name: len(other) for name, other in stock.items()},
        compressed=compressed_path,
        compressed_bytes=None if compressed is None else len(compressed),
        tensors=_tensors(packed.tensors, plan, matches, choices, stored),
        operators=stored.operators,
        runtime=stored.runtime,
        parity=parity,
        float_parity=float_parity,
        own_parity=own,
        accelerated=running.is_accelerated(content),
        float_accelerated=running.is_accelerated(float_content),
        performance=running.performance(content, float_content) if measure else None,
    )


def _check_kept(matches: Sequence[Match], choices: Sequence[Choice], layout: str) -> None:
    lost = [(m.planned, choice) for m, choice in zip(matches, choices, strict=True) if not choice.kept]
    if lost:
        planned, choice = lost[0]
        raise ExportError(
            f"layer {planned.layer!r}, weight {planned.weight!r}",
            expected=f"an exact encoding in layout {layout}",
            received=f"only {choice.encoding}: {choice.why} ({len(lost)} of {len(matches)} tensors)",
            remedy='Use layout="packed", a newer min_runtime, or strict=False to store these tensors in more bits.',
        )


def _write(contents: dict[str | os.PathLike[str], bytes]) -> None:
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            temporary: Path = stack.enter_context(files.replacing(path))
            temporary.write_bytes(content)


def _limit(plan: QuantizationPlan | None, constants: Sequence[Constant], matches: Sequence[Match]) -> int:
    planned = sum(entry.bytes for entry in plan.entries if entry.quantizer is not None) if plan else 0
    matched = {m.constant.buffer for m in matches}
    rest = {c.buffer: c.values.nbytes for c in constants if c.buffer not in matched}
    return planned + sum(rest.values())


def _tensors(
    tensors: Sequence[WeightTensor],
    plan: QuantizationPlan | None,
    matches: Sequence[Match],
    choices: Sequence[Choice],
    stored: FileContents,
) -> tuple[TensorExport, ...]:
    entries = {(e.layer, e.weight): e for e in plan.entries} if plan else {}
    found: dict[tuple[str, str], list[Choice]] = {}
    for m, choice in zip(matches, choices, strict=True):
        found.setdefault((m.planned.layer, m.planned.weight), []).append(choice)
    return tuple(
        _tensor(t.layer, t.weight, t.values, entries.get((t.layer, t.weight)), found.get((t.layer, t.weight)), stored)
        for t in tensors
    )


def _tensor(
    layer: str,
    weight: str,
    values: npt.NDArray[np.float32],
    entry: PlanEntry | None,
    choices: list[Choice] | None,
    stored: FileContents,
) -> TensorExport:
    quantizer, bits = (entry.quantizer, entry.bits) if entry else (None, FLOAT_BITS)
    limit = entry.bytes if entry else _FLOAT_BYTES * values.size
    shape = tuple(values.shape)
    if quantizer is None:
        why = "planned so" if entry else "no plan"
        return TensorExport(layer, weight, shape, None, bits, limit, "float32", _FLOAT_BYTES * values.size, why=why)
    if choices is None:
        return TensorExport(layer, weight, shape, quantizer, bits, limit, "shared", 0, why="equals another tensor")
    encodings = dict.fromkeys(choice.encoding for choice in choices)
    return TensorExport(
        layer,
        weight,
        shape,
        quantizer,
        bits,
        limit,
        encoding=", ".join(encodings),
        stored_bytes=sum(t.bytes for t in stored.tensors if t.name == f"{layer}/{weight}"),
        fast_kernels=encodings.keys() <= {"int8", "sparse", "float16", "float32"},
        kept=all(choice.kept for choice in choices),
        why="; ".join(dict.fromkeys(choice.why for choice in choices)),
    )
