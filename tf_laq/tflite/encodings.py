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
from typing import Literal

import numpy as np
import numpy.typing as npt

from tf_laq.tflite.coding import INTEGER_BITS, WORD_BITS, CodedTensor, digits_of, sparse_bytes
from tf_laq.tflite.graph import version_key

EncodingName = Literal["int2", "int4", "int8", "sparse", "float16", "codebook", "float32"]
Layout = Literal["int8", "packed", "auto"]
LAYOUTS: tuple[Layout, ...] = ("int8", "packed", "auto")
"""How the weights of a file may be stored."""

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

LARGEST_BROADCAST_RANK = 4
"""Most axes of a tensor that old runtimes multiply by factors."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """The encoding of a tensor, and why; `kept` is False if the layout has none that keeps its bits."""

    encoding: EncodingName
    why: str
    kept: bool = True


def encodings(tensor: CodedTensor) -> list[EncodingName]:
    """Return the encodings that hold a tensor exactly, the narrowest integers first, other constants, a codebook.

    Example:
        >>> levels = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
        >>> encodings(CodedTensor.of("w", np.array([[0, 2], [2, 4]]), levels))
        ['int2', 'int4', 'int8', 'sparse', 'float16', 'codebook']
    """
    found: list[EncodingName] = []
    # The scales are normal numbers: some kernels read smaller ones as 0.
    if tensor.integer_range is not None and np.all(tensor.integer_scales() >= np.finfo(np.float32).tiny):
        lowest, highest = tensor.integer_range
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


def keeps(layout: Layout, codebook: npt.NDArray[np.float32], axes: int) -> bool:
    """Return whether a layout keeps the bits of every tensor with these levels, wherever it stands in a model.

    A normalisation that is folded into the tensor may turn the signs of its values, and forbids a codebook where it
    has many axes.

    Args:
        layout: The layout.
        codebook: float32 (L,), the levels, ascending.
        axes: The number of axes of the tensor.

    Example:
        >>> powers = np.array([-1, -0.5, -0.001, 0, 0.001, 0.5, 1], np.float32)
        >>> keeps("int8", powers, 2), keeps("packed", powers, 2)
        (False, True)
    """
    if layout == "packed" and axes <= LARGEST_BROADCAST_RANK:
        return True
    either_sign = np.array([1, -1], np.float32)
    codes = np.tile(np.arange(codebook.size), (2, 1))
    return "int8" in encodings(CodedTensor.of("", codes, codebook, either_sign))


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
        bits = WORD_BITS / digits if digits else tensor.bits
        return bits * tensor.codes.size / 8 + 4 * (tensor.codebook.size + channels) + codebook_overhead
    if name == "float16":
        return 2 * tensor.codes.size + _INTEGER_OVERHEAD
    if name == "sparse":
        return sparse_bytes(tensor.codes.shape, tensor.present) + _CHANNEL_OVERHEAD * channels + _SPARSE_OVERHEAD
    return -(-INTEGER_BITS[name] * tensor.codes.size // 8) + _CHANNEL_OVERHEAD * channels + _INTEGER_OVERHEAD


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
