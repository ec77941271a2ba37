"""Relative limits, tight where they cost little and where the input enters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from tf_laq import quantizers
from tf_laq._internal.validation import positive
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import Policy, best_of, best_within, measured_entry
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity, WeightTensor

SIZE_EXPONENT = 0.75
"""The power of a tensor's size that its limit falls with."""

INPUT_WEIGHT = 10.0
"""How much more a relative error counts where the input enters."""

# Where the input enters and the tensor is small, bits cost little.
_MAX_BITS, _SMALL_INPUT_MAX_BITS = 8, 16
_SMALL = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guarded(Policy):
    """The fewest bits with which every tensor's weighted relative error stays within a limit that falls with its size.

        v * ||W - W_q|| / ||W|| <= error * (n / n_max)^(3/4)

    n is the number of weights of the tensor, n_max that of the largest, v `input_weight` where the input enters and 1
    elsewhere. One more bit costs n bits and halves the error, so at a given size the sum of all errors is least if they
    are proportional to n, and that of their squares if they are to the square root of n; this lies between the two.
    Among settings of equal width that with the smallest error is taken. If none passes, it is the one with the smallest
    error, with `satisfied=False` and a warning. No data is needed.

    Attributes:
        error: Limit for the largest tensor: 0.25 is what a codebook of 3 bits reaches on weights with heavy tails.
        floor: No limit on ||W - W_q|| / ||W|| is lower: below it, more bits made no difference that could be measured
            on MNIST. For a tensor of at most 1 % of all weights where the input enters it is divided by v.
        input_weight: How much more an error counts in the layers that the input reaches first, where it acts on the
            perturbation itself. The default was chosen on one MNIST network, by its robustness.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        max_bits: Widest setting; None for 8, and 16 for a tensor of at most 1 % of all weights where the input enters.

    Raises:
        InputError: A setting is out of range.
    """

    error: float = 0.25
    floor: float = 0.02
    input_weight: float = INPUT_WEIGHT
    quantizers: tuple[str, ...] | None = None
    max_bits: int | None = None

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers, self.max_bits)
        for name in ("error", "floor", "input_weight"):
            positive(name, getattr(self, name))

    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order."""
        measured = list(tensors)
        sizes = [tensor.tensor.values.size for tensor in measured] + [entry.size for entry in by_hand]
        return [self._choose_one(tensor, max(sizes), sum(sizes)) for tensor in measured]

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"guarded (relative error {self.error:g}; {self.input_weight:g} times as strict at the input)"

    def _limit(self, tensor: WeightTensor, largest: int, weights: int) -> float:
        limit = self.error * math.pow(tensor.values.size / largest, SIZE_EXPONENT)
        floor = self.floor / self.input_weight if is_small_input(tensor, weights) else self.floor
        return max(limit / input_weight(tensor, self.input_weight), floor)

    def _choose_one(self, sensitivity: TensorSensitivity, largest: int, weights: int) -> PlanEntry:
        limit = self._limit(sensitivity.tensor, largest, weights)
        settings = settings_for(sensitivity.tensor, self.quantizers, self.max_bits, weights)
        by_bits = sorted(sensitivity.allowed(settings), key=_bits)
        for _, of_width in groupby(by_bits, _bits):
            best = best_within(sensitivity, of_width, limit * sensitivity.norm)
            if best is not None:
                return measured_entry(sensitivity, best, _reason(sensitivity, best, limit))
        best = best_of(sensitivity, by_bits)
        entry = measured_entry(sensitivity, best, f"no setting passes; {_reason(sensitivity, best, limit)}")
        return dataclasses.replace(entry, satisfied=False)


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


def _bits(quantizer: Quantizer) -> int:
    return quantizer.bits


def _reason(sensitivity: TensorSensitivity, quantizer: Quantizer, limit: float) -> str:
    return f"relative error {sensitivity.relative_error(quantizer):.3g}, limit {limit:.3g}"
