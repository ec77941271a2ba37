"""The weight tensors of a compressed model: their bits, their errors and their share of the file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from tf_laq.compression.result import CompressedModel
from tf_laq.plan import PlanEntry
from tf_laq.report.pages import Table, cell
from tf_laq.report.vector import WIDTH, Frame
from tf_laq.tflite.report import ExportReport, TensorExport

_LEFT, _RIGHT, _HEIGHT, _GAP = 34.0, WIDTH - 4.0, 64.0, 36.0
# Numbers on more bars would lie on each other.
_MOST_NUMBERS = 8


@dataclasses.dataclass(frozen=True)
class Layer:
    """A weight tensor in the plan and in the file, which has `file_bytes` in all."""

    entry: PlanEntry
    stored: TensorExport
    file_bytes: int

    @property
    def error(self) -> float | None:
        """||W - W_q|| / ||W||, or None where it is not known."""
        entry = self.entry
        return None if entry.error_norm is None or not entry.norm else entry.error_norm / entry.norm

    @property
    def share(self) -> float:
        """Percent of the file that the tensor takes."""
        return 100 * self.stored.stored_bytes / self.file_bytes


def layers_of(model: CompressedModel) -> list[Layer]:
    """Return the weight tensors of a model with a plan, in its order; none of one without."""
    if model.plan is None:
        return []
    stored = {(tensor.layer, tensor.weight): tensor for tensor in model.export.tensors}
    return [Layer(entry, stored[entry.layer, entry.weight], model.bytes) for entry in model.plan.entries]


def layer_table(layers: Sequence[Layer], export: ExportReport) -> Table:
    """Return a row for every weight tensor, and one for the rest of the file."""
    rows = [
        [
            f"{number} {layer.entry.layer}/{layer.entry.weight}",
            "x".join(map(str, layer.entry.shape)),
            layer.entry.quantizer or "float32",
            cell(layer.entry.bits),
            cell(layer.error),
            layer.stored.encoding if layer.stored.kept else f"{layer.stored.encoding} (NOT AS PLANNED)",
            cell(layer.stored.stored_bytes),
            f"{layer.share:.1f}",
            layer.entry.reason,
        ]
        for number, layer in enumerate(layers, 1)
    ]
    rest = export.file_bytes - sum(layer.stored.stored_bytes for layer in layers)
    share = f"{100 * rest / export.file_bytes:.1f}"
    rows.append(["the rest", "", "", "", "", "", cell(rest), share, "what is not quantized, and the graph"])
    headers = ["tensor", "shape", "quantizer", "bits", "relative error", "stored as", "bytes", "% of the file", "why"]
    return Table(headers, rows)


def draw_layers(layers: Sequence[Layer]) -> Markup:
    """Draw the bits, the relative error and the share of the file of every weight tensor, in the model's order."""
    panels: dict[str, list[float | None]] = {
        "bits": [layer.entry.bits for layer in layers],
        "error relative to the norm": [layer.error for layer in layers],
        "share of the file, %": [layer.share for layer in layers],
    }
    text = " ".join(
        f"{number}: {layer.entry.bits} bits, error {cell(layer.error)}, {layer.share:.1f} % of the file."
        for number, layer in enumerate(layers, 1)
    )
    frame = Frame("Weight tensors of the recommended model", text, len(panels) * (_HEIGHT + _GAP) + 30.0)
    for row, (name, values) in enumerate(panels.items(), 1):
        bottom = row * (_HEIGHT + _GAP)
        frame.write("tick", name, 0.0, bottom - _HEIGHT - 19.0)
        frame.line("grid", (_LEFT, bottom), (_RIGHT, bottom))
        _draw_bars(frame, values, bottom)
    every = math.ceil(len(layers) * 24.0 / (_RIGHT - _LEFT))
    for number in range(0, len(layers), every):
        frame.write("tick", str(number + 1), _middle(number, len(layers)), bottom + 14, "middle")
    frame.write("tick", "number of the tensor", (_LEFT + _RIGHT) / 2, bottom + 28, "middle")
    return frame.markup


def _draw_bars(frame: Frame, values: Sequence[float | None], bottom: float) -> None:
    """Draw a bar for each known value, with its number: on all of a few, on the highest of many."""
    known = {number: value for number, value in enumerate(values) if value is not None}
    highest = max(known, key=lambda number: known[number], default=0)
    width = 0.7 * (_RIGHT - _LEFT) / len(values)
    for number, value in known.items():
        middle, height = _middle(number, len(values)), _HEIGHT * value / (known[highest] or 1.0)
        frame.add("rect", "chosen", x=middle - width / 2, y=bottom - height, width=width, height=height)
        if len(values) <= _MOST_NUMBERS or number == highest:
            frame.write("", f"{value:.2g}" if value < 1 else f"{value:.3g}", middle, bottom - height - 4, "middle")


def _middle(number: int, count: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (number + 0.5) / count
