"""Which constant of a converted file is which planned weight: found by value, whatever the converter did to it.

The converter transposes and reshapes kernels, cuts them into gates or groups, multiplies them by a common factor
(attention) or by one per output channel (batch normalisation folded into the kernel), and stores a shared one once. In
all of these the values stay a codebook times factors, and so the codes can be read off the constant itself.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.quantizers import Encoding
from tf_laq.quantizers.arrays import places_in
from tf_laq.tflite.coding import CodedTensor, counts
from tf_laq.tflite.graph import Constant
from tf_laq.tflite.report import ExportError

_RELATIVE_ROUNDING = 3e-6
"""How far a folded value may be from level times factor: a few float32 roundings."""

_BLOCK = 1 << 14
_WHOLE = (0, 1, 0)
_ELEMENTWISE = frozenset({"ADD", "SUB", "MUL", "DIV"})


@dataclasses.dataclass(frozen=True)
class PlannedTensor:
    """A weight tensor as its quantizer encodes it.

    Attributes:
        layer: Path of the layer.
        weight: Path of the weight in the layer.
        encoding: Its codes, in the shape of the layer's weight, and the codebook.
    """

    layer: str
    weight: str
    encoding: Encoding

    @property
    def name(self) -> str:
        """The name of the tensor in the file."""
        return f"{self.layer}/{self.weight}"


@dataclasses.dataclass(frozen=True)
class Match:
    """A constant of the file that holds a planned tensor or a piece of it, as codes."""

    constant: Constant
    planned: PlannedTensor
    tensor: CodedTensor


@dataclasses.dataclass(frozen=True)
class _Found:
    """A constant as codes of a planned tensor, and the piece of the tensor it is: (axis, pieces, index)."""

    tensor: CodedTensor
    piece: tuple[int, int, int]


def match(constants: Sequence[Constant], planned: Sequence[PlannedTensor]) -> list[Match]:
    """Match the constants of a file with planned tensors.

    Args:
        constants: The float32 constants of the file.
        planned: The tensors to be found; every one has to be, whole or in pieces.

    Returns:
        One match per constant that is a planned tensor or a piece of one.

    Raises:
        ExportError: A planned tensor is not in the file, or only a part of it is.
    """
    plans = [_Plan(tensor) for tensor in planned]
    matches = []
    covered: list[set[tuple[int, int, int]]] = [set() for _ in plans]
    for constant in constants:
        if constant.values.ndim < 2:
            continue
        order = _by_name(constant, plans)
        fitting = [(i, found) for i in order if (found := plans[i].find(constant)) is not None]
        if not fitting:
            fitting = [(i, found) for i in order if (found := plans[i].find_folded(constant)) is not None][:1]
        # A tensor that equals another one may share its constant: every one that fits is found by it.
        for index, found in fitting:
            covered[index].add(found.piece)
        if fitting:
            index, found = fitting[0]
            matches.append(Match(constant, plans[index].planned, found.tensor))
    for plan, pieces in zip(plans, covered, strict=True):
        _check(plan.planned, pieces)
    return matches


class _Plan:
    """A planned tensor, prepared for being compared."""

    def __init__(self, planned: PlannedTensor) -> None:
        self.planned = planned
        self.codes, self.codebook = planned.encoding.codes, planned.encoding.codebook

    def find(self, constant: Constant) -> _Found | None:
        """Return a constant as codes of this tensor or of a piece of it, or None if it is neither."""
        if self.codes.size % constant.values.size:
            return None
        codes = self._exact_codes(constant.values)
        piece = None if codes is None else self._piece(codes)
        return None if codes is None or piece is None else _Found(self._coded(codes), piece)

    def find_folded(self, constant: Constant) -> _Found | None:
        """Return a constant as codes of this tensor times factors, or None if it is nothing of the kind."""
        if constant.values.size != self.codes.size:
            return None
        return self._scaled(constant.values) or self._folded(constant)

    def _coded(
        self, codes: npt.NDArray[Any], factors: npt.NDArray[np.float32] | None = None, axis: int = 0
    ) -> CodedTensor:
        return CodedTensor.of(self.planned.name, codes, self.codebook, factors, axis)

    def _exact_codes(self, values: npt.NDArray[np.float32]) -> npt.NDArray[Any] | None:
        """Return the codes of values that are all levels, else None."""
        flat = values.reshape(-1)
        found = np.empty(values.shape, self.codes.dtype)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            codes = places_in(self.codebook[:-1], block)
            if not np.array_equal(self.codebook[codes], block):
                return None
            found.reshape(-1)[start : start + _BLOCK] = codes
        return found

    def _piece(self, codes: npt.NDArray[Any]) -> tuple[int, int, int] | None:
        """Return which piece of the tensor has each code as often: (axis, number of pieces, index)."""
        count, pieces = counts(codes, self.codebook.size), self.codes.size // codes.size
        for axis in range(self.codes.ndim if pieces > 1 else 1):
            if pieces > 1 and self.codes.shape[axis] % pieces:
                continue
            for index, piece in enumerate(np.split(self.codes, pieces, axis) if pieces > 1 else [self.codes]):
                if np.array_equal(counts(piece, self.codebook.size), count):
                    return axis, pieces, index
        return None

    def _scaled(self, values: npt.NDArray[np.float32]) -> _Found | None:
        """Find the tensor times one factor."""
        found = self._rows(values.reshape(1, -1), self.codes.reshape(1, -1))
        if found is None:
            return None
        return _Found(self._coded(found[0].reshape(values.shape), found[1]), _WHOLE)

    def _folded(self, constant: Constant) -> _Found | None:
        """Find the tensor times a factor per channel; the channels are one axis here, and may be several there."""
        values = constant.values
        for axis, channels in enumerate(values.shape):
            # One value a channel fits any factor; what is added or multiplied elementwise is no kernel then.
            if channels == 1 or (channels == values.size and constant.consumers <= _ELEMENTWISE):
                continue
            rows = np.moveaxis(values, axis, 0)
            for planned_rows in _rows_of(self.codes, channels):
                found = self._rows(rows.reshape(channels, -1), planned_rows)
                if found is not None:
                    codes = np.moveaxis(found[0].reshape(rows.shape), 0, axis)
                    return _Found(self._coded(np.ascontiguousarray(codes), found[1], axis), _WHOLE)
        return None

    def _rows(
        self, rows: npt.NDArray[np.float32], codes: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]] | None:
        """Return rows as codes and a factor a row, if every row has the levels of a row of codes, times a factor."""
        found = np.empty(rows.shape, self.codes.dtype)
        factors = np.empty(len(rows), np.float32)
        for index, row in enumerate(rows):
            fitted = self._row(row, codes[index])
            if fitted is None:
                return None
            found[index], factors[index] = fitted
        return found, factors

    def _row(self, row: npt.NDArray[np.float32], codes: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], np.float32] | None:
        count = counts(codes, self.codebook.size)
        levels = self.codebook[count > 0]
        largest, extent = np.abs(row).max(), np.abs(levels).max()
        if largest == 0:  # Multiplied by 0, or nothing but zeros: any codes will do.
            return codes, np.float32(1.0 if extent == 0 else 0.0)
        if extent == 0:
            return None
        for factor in (largest / extent, -largest / extent):
            fitted = self._nearest(row, np.float32(factor))
            if np.array_equal(counts(fitted, self.codebook.size), count) and self._is_close(row, fitted, factor):
                # The factor that fits all values best, where one value's rounding would carry over to all.
                exact = self.codebook[fitted].astype(np.float64)
                return fitted, np.float32(row.astype(np.float64) @ exact / (exact @ exact))
        return None

    def _nearest(self, row: npt.NDArray[np.float32], factor: np.float32) -> npt.NDArray[Any]:
        midpoints = (self.codebook[1:] + self.codebook[:-1]) * np.float32(0.5)
        nearest: npt.NDArray[Any] = places_in(midpoints, row / factor)
        return nearest.astype(self.codes.dtype, copy=False)

    def _is_close(self, row: npt.NDArray[np.float32], codes: npt.NDArray[Any], factor: float) -> bool:
        return bool(np.allclose(row, self.codebook[codes] * factor, rtol=_RELATIVE_ROUNDING, atol=0.0))


def _rows_of(codes: npt.NDArray[Any], channels: int) -> Iterator[npt.NDArray[Any]]:
    """Give the codes as (channels, rest) by every run of neighbouring axes that holds this many; the last first."""
    runs = itertools.combinations(range(codes.ndim + 1), 2)
    for start, stop in sorted(runs, reverse=True):
        if np.prod(codes.shape[start:stop]) == channels:
            axes = [*range(start, stop), *range(start), *range(stop, codes.ndim)]
            yield codes.transpose(axes).reshape(channels, -1)


def _by_name(constant: Constant, plans: Sequence[_Plan]) -> list[int]:
    """Return the numbers of the plans, those first whose layer is in the name that the converter gave."""
    parts = constant.name.replace(";", "/").split("/")

    def is_other(index: int) -> bool:
        return plans[index].planned.layer.rpartition("/")[2] not in parts

    return sorted(range(len(plans)), key=is_other)


def _check(planned: PlannedTensor, pieces: set[tuple[int, int, int]]) -> None:
    if any(len({p for p in pieces if p[:2] == piece[:2]}) == piece[1] for piece in pieces):
        return
    received = "none" if not pieces else f"only {len(pieces)} of {max(piece[1] for piece in pieces)} pieces of it"
    raise ExportError(
        f"layer {planned.layer!r}, weight {planned.weight!r}",
        expected="a constant with its values in the converted file",
        received=received,
        remedy="The model may not use this weight, or change it while it runs: leave it in float32 with "
        f'laq.search(model, overrides={{{planned.layer!r}: "float32"}}).',
    )
