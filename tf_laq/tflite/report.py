"""The result of an export: what the file holds, how large it is, and how close its outputs are."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tabulate import tabulate

from tf_laq.documents import Document
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
        stored_dtype: Type of the stored values.
        stored_bytes: Bytes of the stored values.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    quantizer: str | None
    bits: int
    limit_bytes: int
    stored_dtype: str
    stored_bytes: int


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

    images: int
    max_difference: float
    max_output: float
    tolerance: float
    differing_predictions: int

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
class ExportReport(Document):
    """What an export wrote.

    Attributes:
        path: The file.
        file_bytes: Its size.
        float_bytes: Size of the same model's float32 file.
        limit_bytes: Bytes of all weights at their planned widths, everything else in float32.
        tensors: One per weight tensor that can be quantized.
        parity: The comparison with the Keras model, made before the file took its place.
    """

    document: ClassVar[str] = "tf_laq export report"
    version: ClassVar[int] = 1

    path: str
    file_bytes: int
    float_bytes: int
    limit_bytes: int
    tensors: tuple[TensorExport, ...]
    parity: Parity

    @property
    def predictions_equal(self) -> bool:
        """Whether file and model choose the same class on every image of the comparison."""
        return self.parity.differing_predictions == 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ExportReport:
        """Build the report from what `to_dict` returned."""
        return cls(
            path=content["path"],
            file_bytes=content["file_bytes"],
            float_bytes=content["float_bytes"],
            limit_bytes=content["limit_bytes"],
            tensors=tuple(TensorExport(**{**t, "shape": tuple(t["shape"])}) for t in content["tensors"]),
            parity=Parity(**content["parity"]),
        )

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return the table's headers and rows, a row per weight tensor."""
        headers = [
            "layer",
            "weight",
            "shape",
            "quantizer",
            "bits",
            "bytes at this width",
            "stored as",
            "bytes stored",
        ]
        rows = [
            [
                t.layer,
                t.weight,
                "x".join(map(str, t.shape)),
                t.quantizer or "float32",
                t.bits,
                t.limit_bytes,
                t.stored_dtype,
                t.stored_bytes,
            ]
            for t in self.tensors
        ]
        return headers, rows

    def __str__(self) -> str:
        headers, rows = self.rows()
        return "\n".join(
            [
                f"TensorFlow Lite file: {self.path}",
                tabulate(rows, headers),
                f"file: {self.file_bytes:,} bytes; float32 file: {self.float_bytes:,} bytes; "
                f"weights at their planned widths and the rest in float32: {self.limit_bytes:,} bytes",
                str(self.parity),
            ]
        )
