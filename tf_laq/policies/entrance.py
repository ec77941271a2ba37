"""Where the input enters a network: an error there counts more, and small as these layers are, bits cost little."""

from __future__ import annotations

from tf_laq import quantizers
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

INPUT_WEIGHT = 10.0
"""How much more a relative error counts there."""

_MAX_BITS, _INPUT_MAX_BITS = 8, 16


def input_weight(tensor: WeightTensor, weight: float = INPUT_WEIGHT) -> float:
    """Return `weight` for a tensor that the input reaches through no other kernel, 1 for any other."""
    return weight if tensor.fed_by_input else 1.0


def settings_for(tensor: WeightTensor, methods: tuple[str, ...] | None, max_bits: int | None) -> list[Quantizer]:
    """Return the settings to choose from for a tensor.

    Args:
        tensor: The tensor.
        methods: Names of quantizers; None for all that are registered.
        max_bits: Widest setting; None for 8, and 16 where the input enters.
    """
    widest = _INPUT_MAX_BITS if tensor.fed_by_input else _MAX_BITS
    return list(quantizers.candidates(methods or quantizers.names(), max_bits or widest))
