"""What a quantizer is: a name, a range of bits, a scale, and the levels that follow from it."""

from __future__ import annotations

import abc
import dataclasses
import numbers
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tf_laq.errors import InputError
from tf_laq.quantizers.arrays import BLOCK, NUMPY, Array, ArrayOperations, as_graph, places_in, tensorflow_operations

_LARGEST_MAGNITUDE = 2.0**127


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

    def quantize(self, weights: npt.ArrayLike, scale: Array = None) -> npt.NDArray[np.float32]:
        """Return the quantized weights as float32, in the same shape.

        Args:
            weights: A tensor, or a part of one.
            scale: The scale of the whole tensor, a NumPy array; None to take it from the weights.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        checked = _finite(weights)
        quantized = np.empty_like(checked, order="C")
        for block, values in self._projected(checked, scale):
            quantized.reshape(-1)[block] = values
        return quantized

    def straight_through(self, weights: Any) -> Any:
        """Quantize a TensorFlow tensor; the gradient passes as if nothing had happened.

        The value is computed in float32 and equals `quantize` bit for bit; a float16 or bfloat16 tensor gets it rounded
        to its own type.
        """
        import tensorflow as tf

        still = tf.cast(tf.stop_gradient(weights), tf.float32)
        quantized = _graph_of(self, still.shape.num_elements())(tf.reshape(still, [-1]))
        return with_gradient_of(weights, tf.reshape(quantized, tf.shape(weights)))

    def encode(self, weights: npt.ArrayLike) -> Encoding:
        """Return the quantized weights as codes into the levels.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        checked = _finite(weights)
        scale = self.scale(checked.reshape(-1), NUMPY)
        codebook = self._codebook(scale)
        codes = np.empty(checked.shape, np.uint8 if codebook.size <= 256 else np.uint16)
        for block, values in self._projected(checked, scale):
            codes.reshape(-1)[block] = places_in(codebook, values)
        return Encoding(codes, codebook)

    def codebook(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the levels for some weights, float32 (L,), ascending, each once.

        Raises:
            InputError: The weights are empty or hold NaN or infinity.
        """
        return self._codebook(self.scale(_finite(weights), NUMPY))

    def _codebook(self, scale: Array) -> npt.NDArray[np.float32]:
        levels: npt.NDArray[np.float32] = np.unique(self.levels(scale, NUMPY))
        return levels + np.float32(0.0)  # no -0.0

    def _projected(
        self, weights: npt.NDArray[np.float32], scale: Array = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Give blocks of the flat weights, each as its place and its quantized values."""
        flat = weights.reshape(-1)
        scale = self.scale(flat, NUMPY) if scale is None else scale
        for start in range(0, flat.size, BLOCK):
            block = slice(start, start + BLOCK)
            yield block, self.project(flat[block], scale, NUMPY)

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


def with_gradient_of(weights: Any, quantized: Any) -> Any:
    """Return quantized weights, a TensorFlow tensor in the type of the weights, with a gradient as if they were those.

    The value is `stop_gradient(q) + (w - stop_gradient(w))`, which is exactly q.
    """
    import tensorflow as tf

    return tf.stop_gradient(tf.cast(quantized, weights.dtype)) + (weights - tf.stop_gradient(weights))


# Tracing takes longer than a step does, and a model has many tensors of one size.
@lru_cache(maxsize=256)
def _graph_of(quantizer: Quantizer, size: int | None) -> Callable[[Array], Array]:
    operations = tensorflow_operations()

    def quantize(flat: Array) -> Array:
        return quantizer.project(flat, quantizer.scale(flat, operations), operations)

    return as_graph(quantize, size, "float32")


def _finite(weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
    values = np.asarray(weights).astype(np.float32, copy=False)
    # NaN reaches both extremes.
    if not values.size or not -_LARGEST_MAGNITUDE <= values.min() <= values.max() <= _LARGEST_MAGNITUDE:
        received = f"extremes {values.min()}, {values.max()}" if values.size else f"no element: {values.shape}"
        raise InputError("weights", expected="one or more finite numbers, at most 2**127", received=received)
    return values
