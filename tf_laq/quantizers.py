"""Weight quantizers: the one definition of their levels.

The search, the simulated model, the gradient of fine-tuning and the exported file all call what stands here. A
quantizer is a class with a name, a range of bits and a rule; `register` makes it known everywhere:

    @quantizers.register
    class Ternary(quantizers.Quantizer):
        name, min_bits, max_bits = "ternary", 2, 2

        def levels(self, weights, operations=NUMPY):
            scale = operations.mean_magnitude(weights)
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
from tf_laq.errors import InputError

# Added to a float's bits, it carries into the exponent exactly where the mantissa reaches sqrt(2).
_SQRT_HALF_CARRY = 0x4AFB0C
_MANTISSA_BITS = 23
_SMALLEST_NORMAL_BITS = 1 << _MANTISSA_BITS
_LARGEST_EXPONENT = 254


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
        return self.codebook[self.codes]

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
    """A map from float32 weights to at most `2**bits` levels, chosen from the weights of one tensor.

    A subclass defines `levels`, and `project` where a weight does not go to the nearest level.

    Args:
        bits: Bit width, from `min_bits` to `max_bits`.

    Raises:
        InputError: `bits` is not such a whole number.
    """

    name: ClassVar[str]
    min_bits: ClassVar[int] = 1
    max_bits: ClassVar[int] = 8

    def __init__(self, bits: int) -> None:
        whole = isinstance(bits, numbers.Integral) and not isinstance(bits, bool)
        if not whole or not self.min_bits <= bits <= self.max_bits:
            raise InputError(
                "bits",
                expected=f"a whole number from {self.min_bits} to {self.max_bits} for the {self.name} quantizer",
                received=repr(bits),
            )
        self.bits = int(bits)

    @abc.abstractmethod
    def levels(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return the levels for these weights: float32 (L,), ascending, L <= 2**bits."""

    def project(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return each float32 weight's level, in the array library of `operations`; without any checks."""
        return operations.nearest(self.levels(weights, operations), weights)

    def quantize(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the quantized weights as float32, in the same shape.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        projected: npt.NDArray[np.float32] = self.project(_finite(weights))
        return projected

    def straight_through(self, weights: Any) -> Any:
        """Quantize a TensorFlow tensor; the gradient passes as if nothing had happened.

        The value is `stop_gradient(q) + (w - stop_gradient(w))`, which is exactly q. It is computed in float32 and
        equals `quantize` bit for bit; a float16 or bfloat16 tensor gets it rounded to its own type.
        """
        import tensorflow as tf

        still = tf.cast(tf.stop_gradient(weights), tf.float32)
        quantized = tf.cast(self.project(still, tensorflow_operations()), weights.dtype)
        return tf.stop_gradient(quantized) + (weights - tf.stop_gradient(weights))

    def encode(self, weights: npt.ArrayLike) -> Encoding:
        """Return the quantized weights as codes into the levels.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        checked = _finite(weights)
        codebook = np.unique(self.levels(checked)) + np.float32(0.0)  # no -0.0
        codes = np.searchsorted(codebook, self.project(checked))
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


def candidates(methods: tuple[str, ...], max_bits: int | None = None) -> Iterator[Quantizer]:
    """Give every setting of the named quantizers: one after the other, bits upward to `max_bits`."""
    for method in methods:
        cls = quantizer_class(method)
        for bits in range(cls.min_bits, min(cls.max_bits, max_bits or cls.max_bits) + 1):
            yield cls(bits)


def _finite(weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
    values = np.asarray(weights).astype(np.float32)
    if not values.size or not np.isfinite(values).all():
        received = "NaN or infinity among them" if values.size else f"an empty array of shape {values.shape}"
        raise InputError("weights", expected="one or more finite numbers", received=received)
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

    def levels(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1."""
        if self.bits == 1:
            return operations.constant([-1.0, 1.0]) * _mean_magnitude(weights, operations)
        n = self._steps
        return operations.constant(np.arange(-n, n + 1)) * self._step(weights, operations)

    def project(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return _signed(weights, _mean_magnitude(weights, operations), operations)
        step = self._step(weights, operations)
        # A tensor of zeros has step 0: divide by 1 instead, every quotient is 0.
        multiple = operations.round(weights / operations.where(step > 0, step, operations.constant(1.0)))
        # -0.0 becomes 0.0, so that equal levels have equal bits.
        return operations.where(multiple == 0, operations.constant(0.0), multiple * step)

    @property
    def _steps(self) -> int:
        return int(2 ** (self.bits - 1)) - 1

    def _step(self, weights: Array, operations: ArrayOperations) -> Array:
        step = operations.times(operations.max_magnitude(weights), 1.0 / self._steps)
        # From twice the smallest normal float on, no subnormal weight can round up to a step.
        return operations.where(step >= 2.0**-125, step, operations.constant(0.0))


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

    def levels(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return the levels: 2 for one bit, else 2**bits - 1, or fewer where 2**(e-k) leaves the float32 range."""
        if self.bits == 1:
            return operations.constant([-1.0, 1.0]) * self._mean_level(weights, operations)
        top = operations.max(_rounded_exponent(weights, operations))
        n = self._octaves
        codes = np.arange(-n, n + 1, dtype=np.int32)
        exponents = operations.maximum(top + (np.abs(codes) - n), 0)
        return operations.constant(np.sign(codes)) * operations.from_bits(
            operations.shift_left(exponents, _MANTISSA_BITS)
        )

    def project(self, weights: Array, operations: ArrayOperations = NUMPY) -> Array:
        """Return each float32 weight's level."""
        if self.bits == 1:
            return _signed(weights, self._mean_level(weights, operations), operations)
        exponent = _rounded_exponent(weights, operations)
        lowest = operations.maximum(operations.max(exponent) - (self._octaves - 1), 1)
        magnitude = operations.from_bits(operations.shift_left(exponent, _MANTISSA_BITS))
        return operations.where(
            exponent < lowest, operations.constant(0.0), _signed(weights, magnitude, operations)
        )

    @classmethod
    def saturation_bits(cls, weights: npt.NDArray[np.float32]) -> int:
        """Return the bit width whose levels reach down to the smallest weight."""
        exponents = _rounded_exponent(weights, NUMPY)
        present = exponents[exponents > 0]
        octaves = int(np.ptp(present)) + 1 if present.size else 1
        return min(cls.max_bits, octaves.bit_length() + 1)

    @property
    def _octaves(self) -> int:
        return int(2 ** (self.bits - 1)) - 1

    def _mean_level(self, weights: Array, operations: ArrayOperations) -> Array:
        exponent = _rounded_exponent(_mean_magnitude(weights, operations), operations)
        return operations.from_bits(operations.shift_left(exponent, _MANTISSA_BITS))


def _rounded_exponent(w: Array, operations: ArrayOperations) -> Array:
    """Return round(log2|w|) + 127 as int32; 0 stands for zero and everything below the normal float32 range."""
    bits = operations.magnitude_bits(w)
    rounded = operations.minimum(
        operations.shift_right(bits + _SQRT_HALF_CARRY, _MANTISSA_BITS), _LARGEST_EXPONENT
    )
    return operations.where(bits < _SMALLEST_NORMAL_BITS, 0, rounded)


def _normal(w: Array, operations: ArrayOperations) -> Array:
    """Return w with everything below the normal float32 range set to 0, as TensorFlow's arithmetic may do."""
    return operations.where(
        operations.magnitude_bits(w) < _SMALLEST_NORMAL_BITS, operations.constant(0.0), w
    )


def _mean_magnitude(w: Array, operations: ArrayOperations) -> Array:
    return _normal(operations.mean_magnitude(_normal(w, operations)), operations)


def _signed(w: Array, magnitude: Array, operations: ArrayOperations) -> Array:
    """Return `magnitude` with the sign of w: + where w is 0, and never -0.0."""
    return operations.where((w < 0) & (magnitude > 0), -magnitude, magnitude)
