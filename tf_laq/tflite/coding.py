"""Constants as codes into few levels, and codes as bytes: integers, integers without zeros, bit planes, words."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

INTEGER_BITS: dict[str, int] = {"int2": 2, "int4": 4, "int8": 8}
WORD_BITS = 32

# Up to here codes may be digits of words: the operators that take these apart are slow, but small in the file.
_FEW_CODES = 1 << 20
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class CodedTensor:
    """A constant of the file as codes: its values are `codebook[codes] * factors`, up to a float32 rounding.

    The product is rounded once, after the factors have been multiplied by the scale, so that all encodings decode to
    the same float32 values.

    Attributes:
        name: Names the tensor in the file.
        codes: uint8 or uint16, in the shape that the file stores.
        codebook: float32 (L,), the levels that occur, ascending.
        scale: A float32 s for which every level is s times an integer, or None.
        factors: float32 (channels,), or (1,), or None; what batch normalisation multiplied the kernel by.
        axis: The axis of the channels.

    Example:
        >>> tensor = CodedTensor.of("w", np.array([[0, 2], [2, 4]]), np.array([-1, -0.5, 0, 0.5, 1], np.float32))
        >>> tensor.codebook, tensor.bits, tensor.scale
        (array([-1.,  0.,  1.], dtype=float32), 2, 1.0)
    """

    name: str
    codes: npt.NDArray[Any]
    codebook: npt.NDArray[np.float32]
    scale: float | None
    factors: npt.NDArray[np.float32] | None = None
    axis: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        codes: npt.NDArray[Any],
        codebook: npt.NDArray[np.float32],
        factors: npt.NDArray[np.float32] | None = None,
        axis: int = 0,
    ) -> CodedTensor:
        """Make a coded tensor from codes into any codebook: levels that do not occur are left out."""
        occurring = counts(codes, codebook.size) > 0
        compact = codebook[occurring]
        renumbered = (np.cumsum(occurring) - 1).astype(np.uint8 if compact.size <= 256 else np.uint16)
        candidates = [np.abs(levels[levels != 0]) for levels in (compact, codebook)]
        scales = [float(magnitudes.min()) for magnitudes in candidates if magnitudes.size] or [1.0]
        scales.append(_largest_power_of_two_in(compact))
        scale = next((scale for scale in scales if _is_scale(scale, compact)), None)
        return cls(name, renumbered[codes], compact, scale, factors, axis)

    @property
    def bits(self) -> int:
        """Bits that a code takes: those of the number of levels that occur."""
        return max(1, int(self.codebook.size - 1).bit_length())

    @functools.cached_property
    def present(self) -> int:
        """How many values are not zero, by their level and their channel's factor."""
        values = (self.codebook != 0)[self.codes]
        if self.factors is not None:
            values = values & (self.factors != 0).reshape(self.channel_shape)
        return int(np.count_nonzero(values))

    @property
    def channel_shape(self) -> tuple[int, ...]:
        """The shape by which the factors multiply the codes."""
        channels = 1 if self.factors is None else self.factors.size
        return (channels, *[1] * (self.codes.ndim - self.axis - 1))

    def decode(self) -> npt.NDArray[np.float32]:
        """Return the float32 values, to the bit what the file decodes to in every encoding."""
        levels, factors = self.levels_and_factors()
        values: npt.NDArray[np.float32] = levels[self.codes]
        return values if factors is None else values * factors

    def levels_and_factors(
        self, *, whole: bool = False
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return levels (L,) and factors that the values are the products of.

        The levels are integers, and their scale is in the factors, if there are factors anyway or `whole` asks for it.
        Levels that are no integers are divided by a power of two then, for tensors to have the same levels.
        """
        factors = None if self.factors is None else self.factors.reshape(self.channel_shape)
        if factors is None and not whole:
            return self.codebook, None
        scale = np.array([_power_of_two(self.codebook, factors) if self.scale is None else self.scale], np.float32)
        levels = self.codebook / scale
        levels = (levels if self.scale is None else np.rint(levels)) + np.float32(0)  # no -0.0
        return levels, scale if factors is None else scale * factors

    def integers(self) -> npt.NDArray[Any] | None:
        """Return the integers k with values = `integer_scales` * k, or None where the levels are no integers.

        They are int8, int16 or int32, whichever is the narrowest that has their magnitudes with either sign.
        """
        if self.scale is None:
            return None
        levels = self.levels_and_factors(whole=True)[0]
        kind = np.min_scalar_type(-1 - int(np.abs(levels).max()))
        integers: npt.NDArray[Any] = levels.astype(kind)[self.codes]
        if self.factors is not None:
            # A scale has to be positive: the sign goes into the integers, and where it is 0 so are they.
            integers = integers * np.sign(self.factors).astype(kind).reshape(self.channel_shape)
        return integers

    @functools.cached_property
    def integer_range(self) -> tuple[int, int] | None:
        """The lowest and the highest of the integers, or None where the levels are no integers."""
        if self.scale is not None and self.factors is None:
            levels = self.levels_and_factors(whole=True)[0]
            return int(levels.min()), int(levels.max())
        integers = self.integers()
        return None if integers is None else (int(integers.min()), int(integers.max()))

    def integer_scales(self) -> npt.NDArray[np.float32]:
        """Return the scale of the integers, one a tensor or one a channel, all positive."""
        scale = np.float32(self.scale or 1.0)
        if self.factors is None:
            return np.array([scale])
        return np.where(self.factors == 0, scale, np.abs(scale * self.factors)).astype(np.float32)


def counts(codes: npt.NDArray[Any], levels: int) -> npt.NDArray[np.int64]:
    """Return how often each of the codes 0 to `levels` - 1 occurs, as int64 (levels,)."""
    flat = codes.reshape(-1)
    # In blocks: NumPy counts 64-bit copies.
    blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    return sum((np.bincount(block, minlength=levels) for block in blocks), np.zeros(levels, np.int64))


def pack(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Return unsigned codes of 1, 2, 4 or 8 bits as bytes, the first code in the lowest bits, the rest of 0.

    Example:
        >>> pack(np.array([1, 2, 3]), 4)
        array([33,  3], dtype=uint8)
    """
    flat = codes.reshape(-1).astype(np.uint8, copy=False)
    each = 8 // bits
    padded = np.zeros(-(-flat.size // each) * each, np.uint8)
    padded[: flat.size] = flat
    columns = padded.reshape(-1, each)
    packed = columns[:, 0].copy()
    for index in range(1, each):
        packed |= columns[:, index] << np.uint8(index * bits)
    return packed


def unpack(packed: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Return the codes that `pack` made bytes of, with those that fill the last byte.

    Example:
        >>> unpack(np.array([33, 3], np.uint8), 4)
        array([1, 2, 3, 0], dtype=uint8)
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: npt.NDArray[np.uint8] = (packed[:, None] >> shifts) & np.uint8(2**bits - 1)
    return codes.reshape(-1)


def plane_widths(bits: int) -> tuple[int, ...]:
    """Return the widths, out of 8, 4, 2 and 1, whose sum is a number of bits; the lowest plane first.

    Example:
        >>> plane_widths(7), plane_widths(11)
        ((4, 2, 1), (8, 2, 1))
    """
    return (8, 8) if bits == 16 else tuple(width for width in (8, 4, 2, 1) if bits & width)


def as_integers(tensor: CodedTensor, name: str) -> npt.NDArray[np.uint8]:
    """Return the stored bytes of a tensor as int8, int4 or int2: two's complement, the first in the lowest bits."""
    integers = tensor.integers()
    assert integers is not None
    bits = INTEGER_BITS[name]
    return pack(integers.astype(np.uint8) & np.uint8(2**bits - 1), bits)


def as_planes(tensors: Sequence[CodedTensor], widths: Sequence[int]) -> list[npt.NDArray[np.uint8]]:
    """Return the bytes of each bit plane of some tensors, one after the other, each filled up to 8 codes.

    A plane of width p is uint8 (n, p): n times 8 codes.
    """
    codes = np.concatenate([np.pad(t.codes.reshape(-1), (0, -t.codes.size % 8)) for t in tensors]).astype(np.uint16)
    planes, shift = [], 0
    for width in widths:
        planes.append(pack((codes >> np.uint16(shift)) & np.uint16(2**width - 1), width).reshape(-1, width))
        shift += width
    return planes


def digits_of(levels: int, count: int) -> int | None:
    """Return how many of `count` codes make a 32-bit word as its digits, or None where bit planes are better."""
    # The last digit of base 2 would have to be divided by 2**31, which is no int32.
    if levels <= 2 or count > _FEW_CODES:
        return None
    digits = next(number for number in range(WORD_BITS, 0, -1) if levels**number <= 2**WORD_BITS)
    return digits if digits * int(levels - 1).bit_length() >= WORD_BITS else None


def as_words(tensors: Sequence[CodedTensor], base: int, digits: int) -> npt.NDArray[np.int32]:
    """Return the codes of some tensors as digits of words (n, 1), the lowest digit first, each tensor's filled up.

    A word that exceeds int32 is stored less base**digits: rounding down, its digits stay what they are.
    """
    codes = np.concatenate([np.pad(t.codes.reshape(-1), (0, -t.codes.size % digits)) for t in tensors])
    words = codes.reshape(-1, digits).astype(np.int64) @ np.array([base**index for index in range(digits)], np.int64)
    return np.where(words >= 2**31, words - base**digits, words).astype(np.int32)[:, None]


@dataclasses.dataclass(frozen=True)
class SparseIntegers:
    """Integers of -128 to 127 without zeros: row by row, which places of the row hold other values, and these values.

    A row goes along one axis of the tensor; the other axes number the rows.

    Attributes:
        shape: The shape with them.
        axis: The axis that the rows go along.
        values: int8 (n,), those that are not zero, row after row; one zero if there are none.
        places: uint8, uint16 or int32 (n,), where each is in its row.
        ends: The same, (rows + 1,): how many values there are before each row, and in all.
    """

    shape: tuple[int, ...]
    axis: int
    values: npt.NDArray[np.int8]
    places: npt.NDArray[Any]
    ends: npt.NDArray[Any]


def sparse(integers: npt.NDArray[Any]) -> SparseIntegers:
    """Return integers of -128 to 127 without their zeros, along the axis by which they take the fewest bytes.

    Example:
        >>> found = sparse(np.array([[0, 0, 5], [0, 0, 0], [-7, 0, 1]]))
        >>> found.axis, found.values, found.places, found.ends
        (1, array([ 5, -7,  1], dtype=int8), array([2, 0, 2], dtype=uint8), array([0, 1, 1, 3], dtype=uint8))
    """
    axis = _best_axis(integers.shape, int(np.count_nonzero(integers)))
    table = np.moveaxis(integers, axis, -1).reshape(-1, integers.shape[axis])
    rows, places = np.nonzero(table)
    if not rows.size:  # A file cannot hold a tensor of no values.
        rows, places = np.zeros(1, int), np.zeros(1, int)
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(table)))])
    return SparseIntegers(
        tuple(integers.shape),
        axis,
        table[rows, places].astype(np.int8),
        places.astype(_kind(table.shape[1] - 1)),
        ends.astype(_kind(rows.size)),
    )


def sparse_bytes(shape: Sequence[int], count: int) -> int:
    """Return how many bytes of values, places and ends a tensor takes of which `count` integers are not zero.

    Example:
        >>> sparse_bytes((3, 3, 16, 32), 100), sparse_bytes((1024, 600), 60000)
        (345, 181202)
    """
    return _bytes(shape, _best_axis(shape, count), count)


def _best_axis(shape: Sequence[int], count: int) -> int:
    return min(reversed(range(len(shape))), key=lambda axis: _bytes(shape, axis, count))


def _bytes(shape: Sequence[int], axis: int, count: int) -> int:
    values = max(count, 1)
    rows = math.prod(shape) // shape[axis]
    return values * (1 + _kind(shape[axis] - 1).itemsize) + (rows + 1) * _kind(values).itemsize


def _kind(largest: int) -> np.dtype[Any]:
    """Return the smallest of the format's types for numbers from 0."""
    for kind in (np.uint8, np.uint16):
        if largest <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.int32)


def _power_of_two(levels: npt.NDArray[np.float32], factors: npt.NDArray[np.float32] | None) -> float:
    """Return a power of two that levels divides levels and multiplies factors without rounding: the largest, or 1."""
    largest = float(np.abs(levels).max())
    power = np.float32(2.0 ** np.floor(np.log2(largest))) if largest else np.float32(1)
    with np.errstate(over="ignore"):
        changed = [levels / power, *([] if factors is None else [factors * power])]
    tiny, huge = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    sizes = np.abs(np.concatenate([values[values != 0].reshape(-1) for values in changed]))
    return float(power) if np.all((sizes >= tiny) & (sizes <= huge)) else 1.0


def _largest_power_of_two_in(levels: npt.NDArray[np.float32]) -> float:
    """Return the largest power of two of which all levels are whole multiples; 1 where all are 0."""
    fractions, exponents = np.frexp(levels[levels != 0].astype(np.float64))
    integers = np.abs(fractions * 2**24).astype(np.int64)
    powers = np.ldexp((integers & -integers).astype(np.float64), exponents - 24)
    return float(powers.min(initial=np.inf)) if powers.size else 1.0


def _is_scale(scale: float, levels: npt.NDArray[np.float32]) -> bool:
    single = np.float32(scale)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(np.rint(levels / single) * single, levels)) and bool(
            np.all(np.abs(levels / single) < 2**20)
        )
