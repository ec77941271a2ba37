"""The result of an export: what the file holds, how large it is, and how close its outputs are."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tabulate import tabulate

from tf_laq._internal.documents import Count, Document, Positive, Shape, Size
from tf_laq._internal.messages import terminal_width
from tf_laq._internal.tables import fitted
from tf_laq.errors import InputError


class ExportError(InputError):
    """A model that cannot be exported as it is; nothing was written."""


@dataclasses.dataclass(frozen=True)
class TensorExport:
    """One weight tensor in the file.

    Attributes:
        layer: Path of the layer in the model.
        weight: Path of the weight in the layer.
        shape: Shape of the weight tensor.
        quantizer: Name of the planned quantizer, or None for float32.
        bits: Planned bit width; 32 without a quantizer.
        limit_bytes: Bytes at that width: bits * weights / 8, rounded up.
        encoding: How the file stores it: "int8", "int4", "int2", "sparse", "codebook", "float16", "float32", several
            for one that is stored in pieces, or "shared" for one that equals another tensor and is stored there.
        stored_bytes: Bytes of its codes, its scales or codebook and its factors, as read from the file.
        fast_kernels: Whether the runtime's fast float32 kernels for convolutions and dense layers take it.
        kept: Whether the layout has an encoding for it; if not, it is stored in float16 or float32.
        why: Why it is stored so.
    """

    layer: str
    weight: str
    shape: Shape
    quantizer: str | None
    bits: Positive
    limit_bytes: Count
    encoding: str
    stored_bytes: Count
    fast_kernels: bool = True
    kept: bool = True
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Parity:
    """How the outputs of the file compare with the Keras model's.

    Attributes:
        images: Number of images that both were run on.
        max_difference: max |file - model| over all outputs.
        max_output: max |model| over all outputs.
        tolerance: The largest difference that was accepted.
        differing_predictions: On how many images the class with the largest output differs.
    """

    images: Count
    max_difference: Size
    max_output: Size
    tolerance: Size
    differing_predictions: Count

    @property
    def relative_difference(self) -> float:
        """Largest difference over the largest output."""
        return self.max_difference / self.max_output if self.max_output else self.max_difference

    @property
    def holds(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.max_difference <= self.tolerance

    def __str__(self) -> str:
        equal = self.images - self.differing_predictions
        return (
            f"parity: max |difference| {self.max_difference:.2g} (relative {self.relative_difference:.2g}, "
            f"limit {self.tolerance:.2g}) on {self.images} images; "
            f"predictions equal on {equal} of {self.images}"
        )


@dataclasses.dataclass(frozen=True)
class Performance:
    """What the file took to run on the machine that wrote it, and what the float32 file took.

    Attributes:
        threads: Threads of the runtime.
        runs: Invocations of each file; the two took turns.
        milliseconds: Median time of an invocation.
        float_milliseconds: The same of the float32 file.
        peak_bytes: By how much loading and running the file raised the peak memory of a fresh process, or None where
            the system does not tell.
        float_peak_bytes: The same of the float32 file.
    """

    threads: Positive
    runs: Positive
    milliseconds: Size
    float_milliseconds: Size
    peak_bytes: Count | None
    float_peak_bytes: Count | None

    def __str__(self) -> str:
        megabytes = [None if peak is None else peak / 1e6 for peak in (self.peak_bytes, self.float_peak_bytes)]
        rows: list[list[Any]] = [
            ["latency, ms", self.milliseconds, self.float_milliseconds, self.milliseconds / self.float_milliseconds],
            ["peak memory, MB", *megabytes, _ratio(self.peak_bytes, self.float_peak_bytes)],
        ]
        headers = [f"here, {self.threads} thread(s)", "this file", "float32", "ratio"]
        return tabulate(rows, headers, floatfmt=".3g", missingval="unknown")


@dataclasses.dataclass(frozen=True)
class ExportReport(Document):
    """What an export wrote.

    Attributes:
        path: The file.
        layout: "int8", "packed" or "auto".
        file_bytes: Its size.
        float_bytes: Size of the same model's float32 file, as the stock converter writes it.
        limit_bytes: Bytes of all planned weights at their widths, and of the file's other constants in float32.
        layout_bytes: Size of the file in every layout.
        other_bytes: Sizes of the stock converter's "float16" and "Optimize.DEFAULT" files, if they were asked for;
            neither computes what the model computes.
        compressed: Path of the compressed file, or None.
        compressed_bytes: Its size, or None.
        tensors: One per weight tensor that can be quantized.
        operators: The operators in the file, each with its version.
        runtime: The oldest TensorFlow Lite runtime that has all of them.
        parity: The comparison with the Keras model as it computes in float32, made before the file took its place.
        float_parity: The same comparison for the float32 file.
        own_parity: The comparison of the file with the model in its own precision, if that is not float32.
        accelerated: Whether the runtime says that its fast kernels take the whole graph, every convolution and dense
            layer included; None if it does not say.
        float_accelerated: The same for the float32 file.
        performance: Latency and memory on this machine, if they were measured.
    """

    document: ClassVar[str] = "tf_laq export report"
    version: ClassVar[int] = 3

    path: str
    layout: str
    file_bytes: Count
    float_bytes: Count
    limit_bytes: Count
    layout_bytes: dict[str, Count]
    other_bytes: dict[str, Count]
    compressed: str | None
    compressed_bytes: Count | None
    tensors: tuple[TensorExport, ...]
    operators: dict[str, Count]
    runtime: str
    parity: Parity
    float_parity: Parity
    accelerated: bool | None = None
    float_accelerated: bool | None = None
    performance: Performance | None = None
    own_parity: Parity | None = None

    @property
    def predictions_equal(self) -> bool:
        """Whether file and model choose the same class on every image of the comparison."""
        return self.parity.differing_predictions == 0

    @property
    def kept(self) -> bool:
        """Whether every tensor of the plan has an encoding in the layout."""
        return all(tensor.kept for tensor in self.tensors)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return the table's headers and rows, a row per weight tensor."""
        headers = [
            "layer", "weight", "shape", "quantizer", "bits", "bytes at this width", "stored as", "bytes stored",
            "fast kernels", "why",
        ]  # fmt: skip
        rows = [
            [
                t.layer,
                t.weight,
                "x".join(map(str, t.shape)),
                t.quantizer or "float32",
                t.bits,
                t.limit_bytes,
                t.encoding if t.kept else f"{t.encoding} (NOT AS PLANNED)",
                t.stored_bytes,
                "yes" if t.fast_kernels else "no",
                t.why,
            ]
            for t in self.tensors
        ]
        return headers, rows

    def size_rows(self) -> list[list[Any]]:
        """Return the rows of the size table: what, its bytes, and how many times the limit that is."""
        sizes = {f"this file ({self.layout})": self.file_bytes}
        if self.compressed_bytes is not None:
            sizes[f"compressed ({self.compressed})"] = self.compressed_bytes
        sizes |= {f"layout {name}": size for name, size in self.layout_bytes.items() if name != self.layout}
        sizes |= {"float32": self.float_bytes, **self.other_bytes, "limit": self.limit_bytes}
        return [[name, f"{size:,}", f"{size / self.limit_bytes:.2f}"] for name, size in sizes.items()]

    def size_table(self) -> str:
        """Return the size table as text."""
        headers = ["size", "bytes", "times the limit"]
        return tabulate(self.size_rows(), headers, disable_numparse=True, colalign=("left", "right", "right"))

    def __str__(self) -> str:
        headers, rows = self.rows()
        operators = ", ".join(f"{name} {version}" for name, version in sorted(self.operators.items()))
        return "\n".join(
            [
                f"TensorFlow Lite file: {self.path}",
                fitted(headers, rows, terminal_width(), spare=("shape", "weight", "bytes at this width")),
                "",
                self.size_table(),
                "limit: the planned weights at their widths, all other constants in float32",
                f"operators and versions: {operators}",
                f"oldest runtime: TensorFlow Lite {self.runtime or 'not named'}",
                f"fast kernels take: {_part(self.accelerated)} (float32: {_part(self.float_accelerated)})",
                str(self.parity),
                *([] if self.own_parity is None else [f"in the model's own precision, {self.own_parity}"]),
                *([] if self.performance is None else ["", str(self.performance)]),
            ]
        )


def _part(accelerated: bool | None) -> str:
    return {True: "the whole graph", False: "not the whole graph", None: "it does not say"}[accelerated]


def _ratio(size: int | None, other: int | None) -> float | None:
    return size / other if size is not None and other else None
