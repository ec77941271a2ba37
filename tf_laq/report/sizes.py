"""How large a model is at the bit widths of its plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from tf_laq.plan import FLOAT_BITS, QuantizationPlan


@dataclasses.dataclass(frozen=True)
class ModelSize:
    """The size of one model.

    Attributes:
        name: Name of the model.
        average_bits: Bits per weight, over the weights that can be quantized.
        kernel_bytes: Bytes of these weights at their bit widths.
        other_bytes: Bytes of everything else, in float32.
        float_bytes: Bytes of the whole model in float32.
        file_bytes: Size of its smallest `.tflite` file, or None where it is not known.

    Example:
        >>> size = ModelSize("lq", 4.0, 500, 100, 4100)
        >>> size.bytes, round(size.ratio, 2)
        (600, 6.83)
    """

    name: str
    average_bits: float
    kernel_bytes: int
    other_bytes: int
    float_bytes: int
    file_bytes: int | None = None

    @property
    def bytes(self) -> int:
        """Bytes of the whole model: those of its file, or where it is not known of its numbers alone."""
        return self.kernel_bytes + self.other_bytes if self.file_bytes is None else self.file_bytes

    @property
    def ratio(self) -> float:
        """How many times smaller than in float32 the model is."""
        return self.float_bytes / self.bytes

    @classmethod
    def of(cls, name: str, plan: QuantizationPlan, parameters: int) -> ModelSize:
        """Return the size of a model of `parameters` numbers under a plan."""
        width = FLOAT_BITS // 8
        return cls(
            name,
            average_bits=plan.average_bits,
            kernel_bytes=plan.bytes,
            other_bytes=width * (parameters - plan.weights),
            float_bytes=width * parameters,
            file_bytes=min(plan.file_bytes.values(), default=None),
        )

    def in_float32(self) -> ModelSize:
        """Return the size of the model before its quantization."""
        kernel_bytes = self.float_bytes - self.other_bytes
        return dataclasses.replace(self, average_bits=float(FLOAT_BITS), kernel_bytes=kernel_bytes, file_bytes=None)


def size_rows(sizes: Sequence[ModelSize]) -> tuple[list[str], list[list[Any]]]:
    """Return the headers and rows of the size table."""
    headers = [
        "model",
        "bits a weight",
        "code bytes",
        "other bytes (float32)",
        "all bytes",
        "file bytes",
        "times smaller",
    ]
    rows = [
        [
            size.name,
            f"{size.average_bits:.2f}",
            f"{size.kernel_bytes:,}",
            f"{size.other_bytes:,}",
            f"{size.kernel_bytes + size.other_bytes:,}",
            "-" if size.file_bytes is None else f"{size.file_bytes:,}",
            f"{size.ratio:.2f}",
        ]
        for size in sizes
    ]
    return headers, rows


def size_table(sizes: Sequence[ModelSize]) -> str:
    """Return the size table as text."""
    headers, rows = size_rows(sizes)
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1)))
