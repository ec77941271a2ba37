"""Where the input enters a network: an error there counts more, and where the tensor is small, bits cost little."""

from __future__ import annotations

from tf_laq import quantizers
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

INPUT_WEIGHT = 10.0
"""How much more a relative error counts there."""

_MAX_BITS, _SMALL_INPUT_MAX_BITS = 8, 16
_SMALL = 0.01


def input_weight(tensor: WeightTensor, weight: float = INPUT_WEIGHT) -> float:
    """Return `weight` for a tensor that the input reaches through no other kernel, 1 for any other."""
    return weight if tensor.fed_by_input else 1.0


def is_small_input(tensor: WeightTensor, weights: int) -> bool:
    """Return whether the input reaches a tensor first and it has at most 1 % of all `weights`.

    There 16 bits are allowed. Codes of more than 8 bits have no fast form in a TensorFlow Lite file, where such a
    tensor may end as float32: a large one must not.
    """
    return tensor.fed_by_input and tensor.values.size <= _SMALL * weights


def settings_for(
    tensor: WeightTensor, names: tuple[str, ...] | None, max_bits: int | None, weights: int
) -> list[Quantizer]:
    """Return the settings to choose from for a tensor.

    Args:
        tensor: The tensor.
        names: Names of quantizers; None for all but those that are `by_name_only`.
        max_bits: Widest setting; None for 8, and 16 in a small tensor where the input enters.
        weights: Number of the weights of all tensors.
    """
    widest = _SMALL_INPUT_MAX_BITS if is_small_input(tensor, weights) else _MAX_BITS
    return quantizers.candidates(names, max_bits or widest)
