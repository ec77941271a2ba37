"""How quantized tensors are stored in a TensorFlow Lite file, each exactly: integers or bit planes.

| encoding | stored | decoded by | bits a weight | runtime |
| --- | --- | --- | --- | --- |
| int8, int4, int2 | integers k, a scale a tensor or a channel | DEQUANTIZE, once at load | 8, 4, 2 | 2.7, 2.18, 2.21 |
| sparse | int8 without its zeros: integers and their places | DENSIFY, DEQUANTIZE, once at load | 16 a value | 2.12 |
| codebook | codes as bit planes or as digits of 32-bit words, levels | CALL_ONCE, into a variable | 1 to 16 | 2.6 |
| float16 | the values | DEQUANTIZE, once at load | 16 | 1.15 |
| float32 | the values | | 32 | |

Integers are for codebooks whose levels are a scale times small integers: the linear quantizer's, and the log
quantizer's as long as the levels that occur span few octaves. Codes are for any codebook. float16 is for powers of two
over up to 40 octaves, which it holds exactly. Nothing here knows where the codes come from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tf_laq.tflite.graph import version_key
from tf_laq.tflite.sparsity import sparse_bytes

EncodingName = Literal["int2", "int4", "int8", "sparse", "float16", "codebook", "float32"]
Layout = Literal["int8", "packed", "auto"]
# How the weights of a file may be stored.
LAYOUTS: tuple[Layout, ...] = ("int8", "packed", "auto")

INTEGER_BITS: dict[str, int] = {"int2": 2, "int4": 4, "int8": 8}
CODEBOOK_RUNTIME = "2.6"
_RUNTIMES = {"int2": "2.21", "int4": "2.18", "int8": "1.14", "sparse": "2.12", "float16": "1.15"}
_PER_CHANNEL_INT8_RUNTIME = "2.7"

MATRIX_OPERATORS = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL", "GATHER", "EMBEDDING_LOOKUP"})
"""Operators that read narrow weights at no or little cost in time; convolutions do not."""

_FLOAT16_EXPONENT = 15
FLOAT16_OPERATORS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose fast kernels take weights from a float16 constant."""

SPARSE_OPERATORS = FLOAT16_OPERATORS
"""Operators that take weights without zeros.

The fast kernels unpack these for themselves. Where they leave the operator to others, nobody unpacks the weights and
it computes from whatever is in memory: so only the operators that they take in every runtime.
"""

# What an operator, its tensors and a buffer take in the file, roughly: decides only between encodings.
_INTEGER_OVERHEAD = 110
_SPARSE_OVERHEAD = 380
_CHANNEL_OVERHEAD = 4
CODEBOOK_OVERHEADS = (300.0, 50.0, 1000.0, math.inf)
"""The same for a codebook: of a tensor by itself, of one that shares a variable, in a file that has few or none."""

_FEW_CODES = 1 << 20
"""Up to here codes may be digits of words: the operators that take these apart are slow, but small in the file."""
_WORD_BITS = 32

LARGEST_BROADCAST_RANK = 4
"""Most axes of a tensor that old runtimes multiply by factors."""


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
        >>> encodings(tensor)
        ['int2', 'int4', 'int8', 'sparse', 'float16', 'codebook']
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
        occurring = np.bincount(codes.reshape(-1), minlength=codebook.size) > 0
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

    @property
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

    def integers(self) -> npt.NDArray[np.int32] | None:
        """Return the integers k with values = `integer_scales` * k, or None where the levels are no integers."""
        if self.scale is None:
            return None
        integers: npt.NDArray[np.int32] = self.levels_and_factors(whole=True)[0].astype(np.int32)[self.codes]
        if self.factors is not None:
            # A scale has to be positive: the sign goes into the integers, and where it is 0 so are they.
            integers = integers * np.sign(self.factors).astype(np.int32).reshape(self.channel_shape)
        return integers

    def integer_scales(self) -> npt.NDArray[np.float32]:
        """Return the scale of the integers, one a tensor or one a channel, all positive."""
        scale = np.float32(self.scale or 1.0)
        if self.factors is None:
            return np.array([scale])
        return np.where(self.factors == 0, scale, np.abs(scale * self.factors)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The encoding of a tensor, and why; `kept` is False if the layout has none that keeps its bits."""

    encoding: EncodingName
    why: str
    kept: bool = True


def encodings(tensor: CodedTensor) -> list[EncodingName]:
    """Return the encodings that hold a tensor exactly, the narrowest integers first, other constants, a codebook."""
    found: list[EncodingName] = []
    integers = tensor.integers()
    # The scales are normal numbers: some kernels read smaller ones as 0.
    if integers is not None and np.all(tensor.integer_scales() >= np.finfo(np.float32).tiny):
        lowest, highest = int(integers.min()), int(integers.max())
        names: tuple[EncodingName, ...] = ("int2", "int4", "int8")
        limits = {name: 2 ** (INTEGER_BITS[name] - 1) for name in names}
        found += [name for name in names if -limits[name] <= lowest and highest < limits[name]]
        if "int8" in found:
            found.append("sparse")
    if float16_power(tensor) is not None:
        found.append("float16")
    if tensor.factors is None or tensor.codes.ndim <= LARGEST_BROADCAST_RANK:
        found.append("codebook")
    return found


def choose(
    tensor: CodedTensor,
    layout: Layout,
    consumers: frozenset[str],
    min_runtime: str | None = None,
    codebook_overhead: float = CODEBOOK_OVERHEADS[0],
) -> Choice:
    """Choose the encoding of a tensor in a layout.

    Args:
        tensor: The tensor.
        layout: "int8": int8, or without zeros if that is smaller. "packed": the fewest bytes. "auto": the narrowest
            integers, or without zeros, where no operator that takes the tensor becomes slower by it; elsewhere as
            "int8".
        consumers: Names of the operators that take the tensor.
        min_runtime: The oldest runtime that the file has to load in, or None for any.
        codebook_overhead: What to expect that a codebook takes in the file beside its codes, in bytes.
    """
    possible = encodings(tensor)
    allowed = [
        name
        for name in possible
        if (min_runtime is None or _is_within(runtime(name, tensor), min_runtime))
        and (name != "float16" or consumers <= _float16_operators(tensor))
        and (name != "sparse" or consumers <= SPARSE_OPERATORS)
    ]
    wanted: set[EncodingName]
    if layout == "packed":
        wanted, why = set(possible) - {"float16"}, "the fewest bytes"
    elif layout == "auto" and consumers <= MATRIX_OPERATORS:
        wanted, why = {"int2", "int4", "int8", "sparse"}, "the narrowest integers, which cost a matrix product no time"
    else:
        wanted, why = {"int8", "sparse"}, "float32 speed"
    fitting = [name for name in allowed if name in wanted]
    if fitting:
        best = min(fitting, key=lambda name: estimated_bytes(name, tensor, codebook_overhead))
        zeros = 1 - tensor.present / tensor.codes.size
        return Choice(best, f"{zeros:.1%} zeros, which take no bytes" if best == "sparse" else why)
    why = _why_not(tensor, possible, layout, min_runtime)
    return Choice("float16" if "float16" in allowed else "float32", why, kept=False)


def runtime(name: EncodingName, tensor: CodedTensor) -> str:
    """Return the oldest TensorFlow Lite runtime that decodes a tensor in this encoding."""
    if name == "codebook":
        return CODEBOOK_RUNTIME
    per_channel = tensor.factors is not None and tensor.factors.size > 1
    return _PER_CHANNEL_INT8_RUNTIME if name == "int8" and per_channel else _RUNTIMES.get(name, "")


def float16_power(tensor: CodedTensor) -> float | None:
    """Return the power of two by which float16 has to hold a tensor multiplied, at best 1; None if it cannot."""
    largest = float(np.abs(tensor.codebook).max())
    powers = [1.0, 2.0 ** (_FLOAT16_EXPONENT - math.floor(math.log2(largest)))] if largest else [1.0]
    with np.errstate(over="ignore"):
        fitting = [power for power in powers if _is_float16(tensor.codebook * np.float32(power))]
    return fitting[0] if fitting and tensor.factors is None else None


def _is_float16(values: npt.NDArray[np.float32]) -> bool:
    return bool(np.all(np.isfinite(values)) and np.array_equal(values.astype(np.float16), values))


def _float16_operators(tensor: CodedTensor) -> frozenset[str]:
    """Return the operators that lose no time by taking a tensor from float16.

    Dividing by the power takes one more operator, whose time shows after a convolution.
    """
    return FLOAT16_OPERATORS if float16_power(tensor) == 1 else frozenset({"FULLY_CONNECTED"})


def estimated_bytes(name: EncodingName, tensor: CodedTensor, codebook_overhead: float = CODEBOOK_OVERHEADS[0]) -> float:
    """Return about how many bytes a file grows by a tensor in this encoding."""
    channels = 0 if tensor.factors is None else tensor.factors.size
    if name == "codebook":
        digits = digits_of(tensor.codebook.size, tensor.codes.size)
        bits = _WORD_BITS / digits if digits else tensor.bits
        return bits * tensor.codes.size / 8 + 4 * (tensor.codebook.size + channels) + codebook_overhead
    if name == "float16":
        return 2 * tensor.codes.size + _INTEGER_OVERHEAD
    if name == "sparse":
        return sparse_bytes(tensor.codes.shape, tensor.present) + _CHANNEL_OVERHEAD * channels + _SPARSE_OVERHEAD
    return -(-INTEGER_BITS[name] * tensor.codes.size // 8) + _CHANNEL_OVERHEAD * channels + _INTEGER_OVERHEAD


def pack(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Return unsigned codes of 1, 2, 4 or 8 bits as bytes, the first code in the lowest bits, the rest of 0.

    Example:
        >>> pack(np.array([1, 2, 3]), 4)
        array([33,  3], dtype=uint8)
    """
    flat = codes.reshape(-1).astype(np.uint8)
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


def as_integers(tensor: CodedTensor, name: EncodingName) -> npt.NDArray[np.uint8]:
    """Return the stored bytes of a tensor as int8, int4 or int2: two's complement, the first in the lowest bits."""
    integers = tensor.integers()
    assert integers is not None
    bits = INTEGER_BITS[name]
    return pack(integers & (2**bits - 1), bits)


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
    digits = next(number for number in range(_WORD_BITS, 0, -1) if levels**number <= 2**_WORD_BITS)
    return digits if digits * int(levels - 1).bit_length() >= _WORD_BITS else None


def as_words(tensors: Sequence[CodedTensor], base: int, digits: int) -> npt.NDArray[np.int32]:
    """Return the codes of some tensors as digits of words (n, 1), the lowest digit first, each tensor's filled up.

    A word that exceeds int32 is stored less base**digits: rounding down, its digits stay what they are.
    """
    codes = np.concatenate([np.pad(t.codes.reshape(-1), (0, -t.codes.size % digits)) for t in tensors])
    words = codes.reshape(-1, digits).astype(np.int64) @ np.array([base**index for index in range(digits)], np.int64)
    return np.where(words >= 2**31, words - base**digits, words).astype(np.int32)[:, None]


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


def _is_within(needed: str, offered: str) -> bool:
    return version_key(needed) <= version_key(offered)


def _why_not(tensor: CodedTensor, possible: list[EncodingName], layout: Layout, min_runtime: str | None) -> str:
    if min_runtime is not None and (layout == "packed" or "int8" in possible):
        return f"no exact encoding runs in runtime {min_runtime}"
    if layout == "packed":
        return f"a folded tensor of {tensor.codes.ndim} axes has neither integer levels nor a decoder"
    magnitudes = np.abs(tensor.codebook[tensor.codebook != 0])
    span = float(magnitudes.max() / magnitudes.min()) if magnitudes.size else 1.0
    form = "are no multiples of one step" if tensor.scale is None else "are not all in -128 to 127 steps"
    return f"its {tensor.codebook.size} levels (largest over smallest: {span:.3g}) {form}; layout packed keeps its bits"
