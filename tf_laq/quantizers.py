"""Weight quantizers: the one definition of their levels.

The search, the simulated model, the gradient of fine-tuning and the exported file all call what stands here. A
quantizer is a class with a name, a range of bits, a scale and the levels that follow from it; `register` makes it
known everywhere:

    @quantizers.register
    class Ternary(quantizers.Quantizer):
        name, min_bits, max_bits = "ternary", 2, 2

        def scale(self, weights, operations):
            return operations.mean_magnitude(weights)

        def levels(self, scale, operations):
            return operations.constant([-1.0, 0.0, 1.0]) * scale
"""

from __future__ import annotations

import abc
import dataclasses
import numbers
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from tf_laq.arrays import NUMPY, Array, ArrayOperations, tensorflow_operations
from tf_laq.clustering import best_levels
from tf_laq.errors import InputError

# Added to a float's bits, it carries into the exponent exactly where the mantissa reaches sqrt(2).
_CARRY_FROM_SQRT_2 = 0x4AFB0C
_EXPONENT_MASK = 0x7F800000
_OCTAVE = 0x00800000
_SMALLEST_NORMAL_BITS = 0x00800000
_LARGEST_MAGNITUDE = 2.0**127

# As many as an int8 holds on each side.
_KMEANS_STEPS = 127

# A clipped range ends at max|W| times one of these, in units of 2**-16: eight an octave, four octaves down.
_RANGES = np.rint(2.0 ** (16 - np.arange(32) / 8)).astype(np.int64)
_CLIPPED_STEPS = 2047

# Mantissas are cut to so many bits where a small whole multiple has to be exact.
_SIXTEEN_SIGNIFICANT_BITS = 0x7FFFFF00

# The terms of additive powers of two, in units of the smallest sum, by bits: as in the authors' code.
_APOT_TERMS = {3: ((0, 4, 2, 1), (0,)), 4: ((0, 8, 4, 1), (0, 2)), 5: ((0, 32, 8, 2), (0, 16, 4, 1))}

# Weights are quantized in blocks that stay in the cache.
_BLOCK = 1 << 15


@dataclasses.dataclass(frozen=True)
class Encoding:
    """A quantized tensor as integers: `codebook[codes]` are its values.

    Attributes:
        codes: uint8 or uint16, the shape of the weights.
        codebook: float32 (L,), ascending, L <= 2**bits.
    """

    codes: npt.NDArray[Any]
    codebook: npt.NDArray[np.float32]

    def decode(self) -> npt.NDArray[np.float32]:
        """Return the float32 values."""
        values: npt.NDArray[np.float32] = self.codebook[self.codes]
        return values

    @property
    def scale(self) -> float | None:
        """The float32 s for which every level is exactly s times an integer, or None if there is none.

        It is looked for as the smallest magnitude among the levels that are not zero: the step of the linear
        quantizer and the lowest power of two of the log quantizer.
        """
        magnitudes = np.abs(self.codebook[self.codebook != 0])
        if not magnitudes.size:
            return 1.0
        scale = magnitudes.min()
        with np.errstate(over="ignore"):
            exact = np.array_equal(np.rint(self.codebook / scale) * scale, self.codebook)
        return float(scale) if exact else None


class Quantizer(abc.ABC):
    """A map from float32 weights to at most `2**bits` levels, which follow from one scale per tensor.

    A subclass defines `scale` and `levels`, and `project` where a weight does not go to the nearest level.

    Args:
        bits: Bit width, from `min_bits` to `max_bits`.

    Attributes:
        by_name_only: Whether no policy chooses it unless it is asked for by its name.

    Raises:
        InputError: `bits` is not such a whole number.
    """

    name: ClassVar[str]
    min_bits: ClassVar[int] = 1
    max_bits: ClassVar[int] = 8
    by_name_only: ClassVar[bool] = False

    def __init__(self, bits: int) -> None:
        whole = isinstance(bits, numbers.Integral) and not isinstance(bits, bool)
        if not whole or not self.min_bits <= bits <= self.max_bits:
            raise InputError(
                "bits",
                expected=f"a whole number from {self.min_bits} to {self.max_bits} for the {self.name} quantizer",
                received=repr(bits),
            )
        self.bits = int(bits)

    @property
    def positive_levels(self) -> int:
        """The levels above zero of a quantizer that is symmetric about a zero level: 2**(bits-1) - 1."""
        return int(2 ** (self.bits - 1)) - 1

    @abc.abstractmethod
    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return what the levels depend on, taken from all weights of a tensor: a float32 scalar or vector."""

    @abc.abstractmethod
    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels for this scale: float32 (L,), ascending, L <= 2**bits."""

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level; elementwise, in the array library of `operations`."""
        return operations.nearest(self.levels(scale, operations), weights)

    def quantize(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the quantized weights as float32, in the same shape.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        checked = _finite(weights)
        flat = checked.reshape(-1)
        scale = self.scale(flat, NUMPY)
        quantized = np.empty_like(flat)
        for start in range(0, flat.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            quantized[block] = self.project(flat[block], scale, NUMPY)
        return quantized.reshape(checked.shape)

    def straight_through(self, weights: Any) -> Any:
        """Quantize a TensorFlow tensor; the gradient passes as if nothing had happened.

        The value is `stop_gradient(q) + (w - stop_gradient(w))`, which is exactly q. It is computed in float32 and
        equals `quantize` bit for bit; a float16 or bfloat16 tensor gets it rounded to its own type.
        """
        import tensorflow as tf

        still = tf.cast(tf.stop_gradient(weights), tf.float32)
        operations = tensorflow_operations()
        quantized = tf.cast(self.project(still, self.scale(still, operations), operations), weights.dtype)
        return tf.stop_gradient(quantized) + (weights - tf.stop_gradient(weights))

    def encode(self, weights: npt.ArrayLike) -> Encoding:
        """Return the quantized weights as codes into the levels.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        checked = _finite(weights)
        codebook = np.unique(self.levels(self.scale(checked, NUMPY), NUMPY)) + np.float32(0.0)  # no -0.0
        codes = np.searchsorted(codebook, self.quantize(checked))
        return Encoding(codes.astype(np.uint8 if codebook.size <= 256 else np.uint16), codebook)

    @classmethod
    def saturation_bits(cls, weights: npt.NDArray[np.float32]) -> int:
        """Return the bit width beyond which more bits no longer change the quantized weights."""
        return cls.max_bits

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self.bits})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Quantizer) and other.bits == self.bits

    def __hash__(self) -> int:
        return hash((self.name, self.bits))


_registry: dict[str, type[Quantizer]] = {}
QuantizerClass = TypeVar("QuantizerClass", bound=type[Quantizer])


def register(cls: QuantizerClass) -> QuantizerClass:
    """Make a quantizer class known under its `name`: to the search, the plan, the command line and the export."""
    _registry[cls.name] = cls
    return cls


def unregister(name: str) -> None:
    """Forget the quantizer class of this name."""
    del _registry[name]


def names() -> tuple[str, ...]:
    """Return the names of all registered quantizers, in the order of their registration.

    Example:
        >>> names()[:2]
        ('linear', 'log')
    """
    return tuple(_registry)


def quantizer_class(name: str) -> type[Quantizer]:
    """Return the class registered under `name`.

    Raises:
        InputError: There is no such quantizer.
    """
    if not isinstance(name, str) or name not in _registry:
        raise InputError("quantizer", expected=f"one of {', '.join(_registry)}", received=repr(name))
    return _registry[name]


def get(name: str, bits: int) -> Quantizer:
    """Return the registered quantizer `name` with this bit width.

    Raises:
        InputError: There is no such quantizer, or it has no such bit width.

    Example:
        >>> get("linear", 3)
        Linear(bits=3)
    """
    return quantizer_class(name)(bits)


def candidates(methods: tuple[str, ...] | None = None, max_bits: int | None = None) -> Iterator[Quantizer]:
    """Give every setting of the named quantizers: one after the other, bits upward to `max_bits`.

    Without names: of all that are not `by_name_only`.
    """
    for method in methods or (name for name, cls in _registry.items() if not cls.by_name_only):
        cls = quantizer_class(method)
        for bits in range(cls.min_bits, min(cls.max_bits, max_bits or cls.max_bits) + 1):
            yield cls(bits)


def _finite(weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
    values = np.asarray(weights).astype(np.float32, copy=False)
    # NaN reaches both extremes.
    if not values.size or not -_LARGEST_MAGNITUDE <= values.min() <= values.max() <= _LARGEST_MAGNITUDE:
        received = f"extremes {values.min()}, {values.max()}" if values.size else f"no element: {values.shape}"
        raise InputError("weights", expected="one or more finite numbers, at most 2**127", received=received)
    return values


@register
class Linear(Quantizer):
    """Symmetric uniform quantizer of one tensor, 1 to 16 bits.

    For b >= 2 bits: n = 2**(b-1) - 1, D = max|W| / n, and w becomes D * round(w / D), halves to even: the levels
    are -nD, ..., -D, 0, D, ..., nD. For 1 bit: w becomes +mean|W| for w >= 0, and -mean|W| otherwise.

    Example:
        >>> Linear(bits=3).quantize([-3.0, 0.4, 0.6, 2.0])
        array([-3.,  0.,  1.,  2.], dtype=float32)
        >>> Linear(bits=1).quantize([-3.0, 1.0])
        array([-2.,  2.], dtype=float32)
    """

    name = "linear"
    max_bits = 16

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the step D; for 1 bit mean|W|."""
        if self.bits == 1:
            return _mean_magnitude(weights, operations)
        step = operations.times(operations.max_magnitude(weights), 1.0 / self.positive_levels)
        # Twice the smallest normal float: a tensor of zeros has a step to divide by, and no subnormal weight, which
        # TensorFlow reads as 0, can round up to a step.
        return operations.at_least(step, 2.0**-125)

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1."""
        n = self.positive_levels
        multiples = [-1.0, 1.0] if self.bits == 1 else np.arange(-n, n + 1)
        return operations.constant(multiples) * scale

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return _signed(weights, scale, operations)
        return operations.without_negative_zero(operations.round(weights / scale) * scale)


@register
class Log(Quantizer):
    """Power-of-two quantizer of one tensor with a zero code, 1 to 8 bits (Miyashita et al. 2016).

    For b >= 2 bits: e = round(log2 max|W|), the levels are 0 and +-2**(e-k), k = 0 ... 2**(b-1) - 2, and w becomes
    sign(w) * 2**round(log2|w|), or 0 below the lowest level. For 1 bit: +-2**round(log2 mean|W|), with + for w >= 0.
    The rounded logarithm is read off the float32 bits: its threshold is sqrt(2), exactly.

    Example:
        >>> Log(bits=3).quantize([-4.4, 0.2, 0.8, 1.5])
        array([-4.,  0.,  1.,  2.], dtype=float32)
        >>> Log(bits=1).quantize([-0.3, 0.2])
        array([-0.25,  0.25], dtype=float32)
    """

    name = "log"

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the highest level 2**e; for 1 bit 2**round(log2 mean|W|)."""
        one_bit = self.bits == 1
        magnitude = _mean_magnitude(weights, operations) if one_bit else operations.max_magnitude(weights)
        return operations.from_bits(_power_of_two_bits(magnitude, operations))

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1, or fewer where 2**(e-k) leaves the float32 range."""
        if self.bits == 1:
            return operations.constant([-1.0, 1.0]) * scale
        n = self.positive_levels
        codes = np.arange(-n, n + 1, dtype=np.int32)
        bits = operations.maximum(operations.magnitude_bits(scale) - (n - np.abs(codes)) * _OCTAVE, 0)
        return operations.constant(np.sign(codes)) * operations.from_bits(bits)

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return _signed(weights, scale, operations)
        bits = _power_of_two_bits(weights, operations)
        lowest = operations.magnitude_bits(scale) - (self.positive_levels - 1) * _OCTAVE
        # Twice the smallest normal float: what TensorFlow reads as 0 lies below every level.
        lowest = operations.maximum(lowest, 2 * _SMALLEST_NORMAL_BITS)
        magnitude = operations.from_bits(operations.keep(bits >= lowest, bits))
        return operations.with_sign(magnitude, weights)

    @classmethod
    def saturation_bits(cls, weights: npt.NDArray[np.float32]) -> int:
        """Return the bit width whose levels reach down to the smallest weight."""
        bits = _power_of_two_bits(weights, NUMPY)
        present = bits[bits > _SMALLEST_NORMAL_BITS]
        octaves = int(np.ptp(present)) // _OCTAVE + 1 if present.size else 1
        return min(cls.max_bits, octaves.bit_length() + 1)


@register
class KMeans(Quantizer):
    """Codebook of one tensor: the 2**b levels with the smallest squared error, zero among them, 2 to 6 bits.

    The levels are -127 D ... 127 D, for D the smallest power of two that reaches max|W|; those are chosen that fit
    the weights, rounded to whole D, best (k-means in one dimension, solved exactly), and w becomes the nearest one.
    Where few weights are large, as in most trained networks, the levels lie where the weights are, while those of the
    linear quantizer are spread evenly up to max|W|.

    Example:
        >>> KMeans(bits=2).quantize([-0.1, 0.0, 0.1, 0.1, 0.5, 0.5, 12.0, 11.0])
        array([ 0. ,  0. ,  0. ,  0. ,  0.5,  0.5, 12. , 11. ], dtype=float32)
    """

    name = "kmeans"
    min_bits = 2
    max_bits = 6

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the levels."""
        counts, step = _histogram(weights, _KMEANS_STEPS, operations)
        return operations.as_float(best_levels(counts, 2**self.bits, operations)) * step

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2**bits, some of them equal where the weights have fewer values."""
        return scale


@register
class APoT(Quantizer):
    """Additive powers of two of one tensor, 3 to 5 bits.

    Li, Dong and Wang 2020, "Additive Powers-of-Two Quantization", section 2.2, with terms of two bits. A level is
    D times a sum of at most two powers of two, or minus that, and w becomes the nearest one:

        3 bits: {0, 4, 2, 1};   4 bits: {0, 8, 4, 1} + {0, 2};   5 bits: {0, 32, 8, 2} + {0, 16, 4, 1}

    D = max|W| / the largest sum, cut to 16 significant bits, so that the levels are exact and their own levels are
    themselves. The paper learns the clipping threshold in training; here it is max|W|.

    Example:
        >>> APoT(bits=3).quantize([-4.0, 0.4, 0.6, 3.5])
        array([-4.,  0.,  1.,  4.], dtype=float32)
    """

    name = "apot"
    min_bits = 3
    max_bits = 5

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return D."""
        step = operations.times(operations.max_magnitude(weights), 1.0 / self._sums()[-1])
        step = operations.from_bits(operations.bits_and(operations.magnitude_bits(step), _SIXTEEN_SIGNIFICANT_BITS))
        return operations.at_least(step, 2.0**-125)

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the 2**bits - 1 levels."""
        sums = self._sums()
        return operations.constant([*(-each for each in reversed(sums[1:])), *sums]) * scale

    def _sums(self) -> list[float]:
        terms = _APOT_TERMS[self.bits]
        return sorted(float(first + second) for first in terms[0] for second in terms[1])


@register
class Clipped(Linear):
    """Symmetric uniform quantizer of one tensor that cuts off the largest weights, 2 to 6 bits.

    n = 2**(b-1) - 1, and w becomes D * clip(round(w / D), -n, n): the levels are as even as the linear quantizer's,
    but nD is max|W| * 2**(-i/8), i = 0 ... 31, with the least sum of |w - w_q|**3; D is rounded down to a multiple of
    the smallest power of two that reaches max|W| / 2047. So a few large weights do not decide how coarse the step is
    for all others, and the codes are still whole numbers times one scale.

    Cubes stand in for ||W - W_q||, which depends on more than single weights: on trained networks their step has at
    most 11 % more of it than the best one. Squares cut off too much, up to 41 % more: large weights carry the norm.

    Policies choose it by name only. Now and then it has a smaller ||W - W_q|| than k-means levels of the same width,
    and the network was less robust with it all the same.

    Example:
        >>> weights = np.append(np.linspace(-1.0, 1.0, 999), 4.0)
        >>> [float(quantizer(bits=3).quantize(weights).max()) for quantizer in (Linear, Clipped)]
        [4.0, 2.1796875]
    """

    name = "clipped"
    min_bits = 2
    max_bits = 6
    by_name_only = True

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the step D."""
        counts, unit = _histogram(weights, _CLIPPED_STEPS, operations)
        w = np.abs(np.arange(-_CLIPPED_STEPS, _CLIPPED_STEPS + 1))[:, None]
        largest = operations.max_magnitude(operations.where(counts > 0, w[:, 0], np.int64(0)))
        # Rounded down, so that the largest weight goes to the last level, and quantized weights find their own step.
        steps = operations.maximum(largest * _RANGES // (self.positive_levels << 16), 1)
        codes = (2 * w + steps) // (2 * steps)
        codes = operations.where(codes < self.positive_levels, codes, np.int64(self.positive_levels))
        cost = operations.column_sum(counts[:, None] * abs(w - codes * steps) ** 3)
        return operations.as_float(steps[operations.lowest_row(cost)]) * unit

    def project(self, weights: Array, scale: Array, operations: ArrayOperations) -> Array:
        """Return each float32 weight's level."""
        return super().project(operations.clip(weights, scale * self.positive_levels), scale, operations)


def _histogram(weights: Array, largest: int, operations: ArrayOperations) -> tuple[Array, Array]:
    """Return int64 (2 * `largest` + 1,) counts of the weights in whole steps, and the step.

    The step is a power of two: its multiples are exact, and have the same multiples in their own histogram.
    """
    step = operations.times(operations.max_magnitude(weights), 1 / largest)
    bits = operations.bits_and(operations.magnitude_bits(step) + (_OCTAVE - 1), _EXPONENT_MASK)
    step = operations.at_least(operations.from_bits(bits), 2.0**-125)
    return operations.histogram(operations.round(weights / step), largest), step


def _power_of_two_bits(w: Array, operations: ArrayOperations) -> Array:
    """Return the float32 bits, as int32, of 2**round(log2|w|); below the normal range, of 0 or its lower end."""
    return operations.bits_and(operations.magnitude_bits(w) + _CARRY_FROM_SQRT_2, _EXPONENT_MASK)


def _mean_magnitude(w: Array, operations: ArrayOperations) -> Array:
    """Return mean |w|, with what lies below the normal float32 range as 0: TensorFlow's arithmetic flushes it."""

    def normal(values: Array) -> Array:
        bits = operations.magnitude_bits(values)
        return operations.from_bits(operations.keep(bits >= _SMALLEST_NORMAL_BITS, bits))

    return normal(operations.mean_magnitude(normal(w)))


def _signed(w: Array, magnitude: Array, operations: ArrayOperations) -> Array:
    """Return +magnitude where w >= 0 (-0.0 included), -magnitude elsewhere."""
    return operations.with_sign(magnitude, operations.without_negative_zero(w))
