"""The quantization plan: which quantizer and how many bits every weight tensor gets, and why."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Mapping
from typing import Any, ClassVar

from tf_laq import quantizers
from tf_laq._internal.documents import Count, Document, Part, Positive, Shape, Size
from tf_laq._internal.messages import terminal_width
from tf_laq._internal.tables import fitted
from tf_laq.errors import InputError
from tf_laq.quantizers import Quantizer

FLOAT_BITS = 32
_SHOWN_NAMES = 3


@dataclasses.dataclass(frozen=True)
class PlanEntry:
    """What happens to one weight tensor.

    Attributes:
        layer: Path of the layer in the model.
        weight: Path of the weight in the layer.
        shape: Shape of the weight tensor.
        quantizer: Name of the quantizer, or None to leave the tensor in float32.
        bits: Bit width; 32 without a quantizer.
        norm: ||W||.
        quantized_norm: ||W_q||, or None where it was not measured (a manual override).
        error_norm: ||W - W_q||, or None.
        zeros: Share of quantized weights that are exactly zero, or None.
        satisfied: Whether the policy's conditions are met.
        reason: Why the policy stopped here.
    """

    layer: str
    weight: str
    shape: Shape
    quantizer: str | None
    bits: Positive
    norm: Size
    quantized_norm: Size | None = None
    error_norm: Size | None = None
    zeros: Part | None = None
    satisfied: bool = True
    reason: str = ""

    def __post_init__(self) -> None:
        if self.quantizer is not None:
            quantizers.get(self.quantizer, self.bits)
        elif self.bits != FLOAT_BITS:
            raise InputError("bits", expected=f"{FLOAT_BITS} without a quantizer", received=self.bits)

    @property
    def size(self) -> int:
        """Number of weights."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def bytes(self) -> int:
        """Bytes that codes of this width take: bits * weights / 8, rounded up."""
        return -(-self.bits * self.size // 8)

    @property
    def ratio(self) -> float | None:
        """||W_q|| / ||W||, or None where it is not known."""
        return None if self.quantized_norm is None or not self.norm else self.quantized_norm / self.norm

    def make_quantizer(self) -> Quantizer | None:
        """Return the quantizer of this entry, or None for float32."""
        return None if self.quantizer is None else quantizers.get(self.quantizer, self.bits)


@dataclasses.dataclass(frozen=True)
class LeftAlone:
    """What is not quantized of a layer, or of a model beside its layers: its path, its class, and the reason."""

    layer: str
    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class QuantizationPlan(Document):
    """Quantizer and bits of every weight tensor of a model, and every layer that is left alone.

    Attributes:
        policy: The policy that made the plan, with its settings, in words.
        norm: The norm it was made by: "spectral" or "inf".
        entries: One per weight tensor, in the model's order.
        left_alone: One per layer without an entry, or with other weights that are no vectors, and one per model with
            weights beside its layers. Together with the entries they account for all weights.
        file_bytes: Layout -> size of the `.tflite` file in it; empty until `tflite.with_file_bytes` finds it.
        widened: Layout -> the weights whose bits it cannot keep, which the file has in float16 or float32.
    """

    document: ClassVar[str] = "tf_laq quantization plan"
    version: ClassVar[int] = 2
    # Models that took hours to fine-tune have plans without a checksum in their files.
    unsigned: ClassVar[tuple[int, ...]] = (1,)

    policy: str
    norm: str
    entries: tuple[PlanEntry, ...]
    left_alone: tuple[LeftAlone, ...] = ()
    # Both follow from the rest: plans that are the same are equal whether or not somebody has looked.
    file_bytes: Mapping[str, Count] = dataclasses.field(default_factory=dict, compare=False)
    widened: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def weights(self) -> int:
        """Number of weights with an entry."""
        return sum(entry.size for entry in self.entries)

    @property
    def bytes(self) -> int:
        """Bytes of all entries' codes."""
        return sum(entry.bytes for entry in self.entries)

    @property
    def average_bits(self) -> float:
        """Bits per weight, over all weights with an entry; 0 where there is none."""
        return sum(entry.bits * entry.size for entry in self.entries) / max(self.weights, 1)

    @property
    def satisfied(self) -> bool:
        """Whether the policy's conditions are met by every entry."""
        return all(entry.satisfied for entry in self.entries)

    @property
    def digest(self) -> str:
        """The SHA-256 of what the plan chooses: its `.tflite` file carries it.

        It is that of the JSON text [[layer, weight, quantizer, bits], ...] of the entries, so that plans that make
        the same file have the same, whatever else they know of the model.
        """
        chosen = [[entry.layer, entry.weight, entry.quantizer, entry.bits] for entry in self.entries]
        return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values; without the file's sizes where they are not known."""
        content = super().to_dict()
        return content if self.file_bytes else {k: v for k, v in content.items() if k not in ("file_bytes", "widened")}

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return the table's headers and rows, a row per entry."""
        headers = [
            "layer", "weight", "shape", "weights", "quantizer", "bits", "||W||", "||W_q||", "ratio", "||W-W_q||",
            "zeros %", "code bytes", "met", "why",
        ]  # fmt: skip
        rows = [
            [
                e.layer,
                e.weight,
                "x".join(map(str, e.shape)),
                e.size,
                e.quantizer or "float32",
                e.bits,
                e.norm,
                e.quantized_norm,
                e.ratio,
                e.error_norm,
                None if e.zeros is None else 100 * e.zeros,
                e.bytes,
                "yes" if e.satisfied else "NO",
                e.reason,
            ]
            for e in self.entries
        ]
        return headers, rows

    def __str__(self) -> str:
        """Return the plan as a table that fits the terminal; in files and pipes, 120 characters."""
        width = terminal_width()
        float_bytes = self.weights * FLOAT_BITS // 8
        codes = f"codes: {self.bytes:,} bytes ({float_bytes:,} in float32)"
        total = f"{self.average_bits:.2f} bits a weight on average; {codes}"
        left_alone = [f"  {line}" for line in self._left_alone()]
        return "\n".join(
            [
                textwrap.fill(f"Quantization plan: {self.policy}; norm: {self.norm}", width),
                fitted(*self.rows(), width, spare=_SPARE),
                textwrap.fill(total, width),
                *(textwrap.fill(line, width, subsequent_indent="    ") for line in self._file_lines()),
                *(["Left alone:"] if left_alone else []),
                *(textwrap.fill(line, width, subsequent_indent="    ") for line in left_alone),
            ]
        )

    def _left_alone(self) -> list[str]:
        """Return a line for the layers of one class that are left alone for one reason."""
        groups: dict[tuple[str, str], list[str]] = {}
        for each in self.left_alone:
            groups.setdefault((each.kind, each.reason), []).append(each.layer)
        return [
            f"{layers[0]} ({kind}): {reason}" if len(layers) == 1 else f"{len(layers)} {kind} layers: {reason}"
            for (kind, reason), layers in groups.items()
        ]

    def _file_lines(self) -> list[str]:
        """Return one line for each size: the layouts with it, and what they cannot keep."""
        alike: dict[tuple[int, tuple[str, ...]], list[str]] = {}
        for layout, size in self.file_bytes.items():
            alike.setdefault((size, self.widened.get(layout, ())), []).append(layout)
        return [
            f"File in layout {' or '.join(layouts)}: {size:,} bytes{_widened(names)}"
            for (size, names), layouts in sorted(alike.items())
        ]


_SPARE = ("weights", "weight", "||W_q||", "zeros %", "shape", "||W||", "code bytes", "ratio", "||W-W_q||")
"""Columns that a narrow table is without, from the first on: the file of the plan has all of them."""


def _widened(names: tuple[str, ...]) -> str:
    shown = [*names[:_SHOWN_NAMES], *([f"{len(names) - _SHOWN_NAMES} more"] if len(names) > _SHOWN_NAMES else [])]
    return f"; not at the planned bits: {', '.join(shown)}" if names else ""
