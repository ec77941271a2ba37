"""How much each weight tensor suffers from each quantizer setting: the data-free measurements that policies choose by.

Nothing is measured before it is asked for. A `TensorSensitivity` answers both exact questions (a norm) and cheaper
ones (is a norm above a threshold?), and remembers what it found; `measure` asks for everything and gives the whole
`SensitivityTable`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from tf_laq import lipschitz, quantizers
from tf_laq._internal.documents import Document, Part, Positive, Shape, Size
from tf_laq._internal.progress import progress_bar
from tf_laq.errors import InputError
from tf_laq.quantizers import Quantizer
from tf_laq.quantizers.arrays import NUMPY

# One row or column of so many is looked at first, in tensors of at least so many weights.
_SAMPLED = 16
_LARGE = 1 << 17
# Bounds decide only by more than what rounding could change.
_ROUNDING = 1e-3

Values = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class WeightTensor:
    """A weight tensor that can be quantized, as an adapter found it in a model.

    Attributes:
        layer: Path of the layer in the model, e.g. "block1/conv2".
        weight: Path of the weight in the layer, e.g. "kernel" or "cell.recurrent_kernel".
        values: float32, finite.
        layout: How the values are read as a matrix.
        fed_by_input: Whether the model's input reaches the layer through no other kernel.

    Raises:
        InputError: The values are empty, or NaN or infinite.
    """

    layer: str
    weight: str
    values: Values
    layout: lipschitz.MatrixLayout
    fed_by_input: bool = False

    def __post_init__(self) -> None:
        if not self.values.size or not np.isfinite([self.values.min(), self.values.max()]).all():
            raise InputError(
                f"layer {self.layer!r}, weight {self.weight!r}",
                expected="finite weights",
                received="NaN or infinity" if self.values.size else f"an empty tensor {self.values.shape}",
                remedy="Train the model again, or from an earlier checkpoint.",
            )


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a quantizer setting does to one weight tensor.

    Attributes:
        quantizer: Name of the quantizer.
        bits: Bit width.
        quantized_norm: ||W_q||.
        error_norm: ||W - W_q||.
        zeros: Share of quantized weights that are exactly zero, 0 to 1.
    """

    quantizer: str
    bits: Positive
    quantized_norm: Size
    error_norm: Size
    zeros: Part


IsAllowed = Callable[[WeightTensor, Quantizer], bool]
"""Whether a weight tensor may get a setting."""


class TensorSensitivity:
    """The measurements of one weight tensor, made when asked for and kept.

    Args:
        tensor: The weight tensor.
        norm: "spectral" or "inf".
        is_allowed: Which settings the tensor may get; None for all.
    """

    def __init__(
        self, tensor: WeightTensor, norm: lipschitz.NormName = "spectral", is_allowed: IsAllowed | None = None
    ) -> None:
        self.tensor = tensor
        self._which = norm
        self._is_allowed = is_allowed
        self._allowed: dict[Quantizer, bool] = {}
        self._scales: dict[Quantizer, Any] = {}
        self.norm = self._norm(tensor.values)
        self._measured: dict[Quantizer, Measurement] = {}
        self._errors: dict[Quantizer, float] = {}

    def allowed(self, settings: Iterable[Quantizer]) -> list[Quantizer]:
        """Return those of some settings that the tensor may get.

        Raises:
            InputError: It may get none of them.
        """
        given = list(settings)
        if self._is_allowed is None:
            return given
        for quantizer in given:
            if quantizer not in self._allowed:
                self._allowed[quantizer] = self._is_allowed(self.tensor, quantizer)
        found = [quantizer for quantizer in given if self._allowed[quantizer]]
        if not found:
            raise InputError(
                f"layer {self.tensor.layer!r}, weight {self.tensor.weight!r}",
                expected="a setting that the layout keeps",
                received=", ".join(f"{quantizer.name}:{quantizer.bits}" for quantizer in given),
                remedy="Choose from other quantizers or bit widths, or another layout.",
            )
        return found

    def measure(self, quantizer: Quantizer) -> Measurement:
        """Return the exact norms for one setting."""
        if quantizer not in self._measured:
            quantized = self._quantized(quantizer)
            self._measured[quantizer] = Measurement(
                quantizer.name,
                quantizer.bits,
                quantized_norm=self._norm(quantized),
                error_norm=self.error_norm(quantizer),
                zeros=1.0 - np.count_nonzero(quantized) / quantized.size,
            )
        return self._measured[quantizer]

    def meets(self, quantizer: Quantizer, quantized_limit: float, error_limit: float) -> bool:
        """Return whether ||W_q|| <= `quantized_limit` and ||W - W_q|| <= `error_limit`.

        The answer is that of the exact norms; most settings are decided by bounds that cost no decomposition.
        """
        error = self.error_within(quantizer, error_limit)
        if error is None:
            return False
        # ||W_q|| <= ||W|| + ||W - W_q||
        surely = self.norm + error <= quantized_limit * (1 - _ROUNDING)
        return surely or self.measure(quantizer).quantized_norm <= quantized_limit

    def error_within(self, quantizer: Quantizer, limit: float) -> float | None:
        """Return ||W - W_q||, or None if it is above `limit`: often a small part of the weights is enough to know."""
        if quantizer not in self._errors:
            if self._sample_exceeds(quantizer, limit):
                return None
            matrices = self._matrices(self._error(quantizer))
            if not self._spectral:
                self._errors[quantizer] = lipschitz.norm(matrices, self._which)
            elif (found := lipschitz.spectral_norm_within(matrices, limit)) is not None:
                self._errors[quantizer] = found
            else:
                return None
        return self._errors[quantizer] if self._errors[quantizer] <= limit else None

    def error_norm(self, quantizer: Quantizer) -> float:
        """Return ||W - W_q|| alone, without the other norms that `measure` needs."""
        error = self.error_within(quantizer, math.inf)
        assert error is not None
        return error

    def relative_error(self, quantizer: Quantizer) -> float:
        """Return ||W - W_q|| / ||W||; 0 for a tensor of zeros."""
        return self.error_norm(quantizer) / self.norm if self.norm else 0.0

    def squared_error(self, quantizer: Quantizer) -> float:
        """Return ||W - W_q||_F^2, the sum of the squared errors of all weights."""
        return float(np.sum(np.square(self._error(quantizer), dtype=np.float64)))

    def _sample_exceeds(self, quantizer: Quantizer, limit: float) -> bool:
        """Return whether the error of a part of the matrix is above the limit: then that of the whole is."""
        if not self._spectral or limit == math.inf or self.tensor.values.size < _LARGE:
            return False
        error = self._sample - quantizer.quantize(self._sample, self._scale(quantizer))
        return lipschitz.spectral_norm_within(error, limit * (1 + _ROUNDING)) is None

    @functools.cached_property
    def _sample(self) -> lipschitz.Matrix:
        """Some of the shorter ones of the rows and columns: their longest is nearly as long as that of all."""
        matrices = self._matrices(self.tensor.values)
        wide = matrices.shape[1] < matrices.shape[2]
        return np.ascontiguousarray(matrices[:, ::_SAMPLED] if wide else matrices[:, :, ::_SAMPLED])

    def _quantized(self, quantizer: Quantizer) -> Values:
        return quantizer.quantize(self.tensor.values, self._scale(quantizer))

    def _error(self, quantizer: Quantizer) -> Values:
        quantized = self._quantized(quantizer)
        return np.subtract(self.tensor.values, quantized, out=quantized)

    def _scale(self, quantizer: Quantizer) -> Any:
        if quantizer not in self._scales:
            self._scales[quantizer] = quantizer.scale(self.tensor.values.reshape(-1), NUMPY)
        return self._scales[quantizer]

    @property
    def _spectral(self) -> bool:
        return self._which == "spectral"

    def _norm(self, values: Values) -> float:
        return lipschitz.norm(self._matrices(values), self._which)

    def _matrices(self, values: Values) -> lipschitz.Matrix:
        return self.tensor.layout.matrices(values)


@dataclasses.dataclass(frozen=True)
class SensitivityRow:
    """All measurements of one weight tensor: its place, shape, ||W|| and a `Measurement` per setting."""

    layer: str
    weight: str
    shape: Shape
    norm: Size
    measurements: tuple[Measurement, ...]


@dataclasses.dataclass(frozen=True)
class SensitivityTable(Document):
    """Bits, ||W||, ||W_q|| and ||W - W_q|| of every weight tensor under every setting.

    Attributes:
        norm: "spectral" or "inf".
        rows: One per weight tensor.
    """

    document: ClassVar[str] = "tf_laq sensitivity table"
    version: ClassVar[int] = 2

    norm: lipschitz.NormName
    rows: tuple[SensitivityRow, ...]

    def __str__(self) -> str:
        lines = [
            [
                f"{row.layer}.{row.weight}",
                row.norm,
                m.quantizer,
                m.bits,
                m.quantized_norm,
                m.error_norm,
                100 * m.zeros,
            ]
            for row in self.rows
            for m in row.measurements
        ]
        headers = ["weight", "||W||", "quantizer", "bits", "||W_q||", "||W-W_q||", "zeros %"]
        return tabulate(lines, headers, floatfmt=".4g")


def measure(
    tensors: Sequence[WeightTensor],
    settings: Iterable[Quantizer] | None = None,
    *,
    norm: lipschitz.NormName = "spectral",
    progress: bool = True,
) -> SensitivityTable:
    """Measure every weight tensor under every setting (default: every bit width of every registered quantizer)."""
    settings = quantizers.candidates(quantizers.names()) if settings is None else list(settings)
    rows = []
    for tensor in progress_bar(tensors, shown=progress, desc="Sensitivity", unit="tensor"):
        sensitivity = TensorSensitivity(tensor, norm)
        rows.append(
            SensitivityRow(
                tensor.layer,
                tensor.weight,
                tensor.values.shape,
                sensitivity.norm,
                tuple(sensitivity.measure(quantizer) for quantizer in settings),
            )
        )
    return SensitivityTable(norm, tuple(rows))
