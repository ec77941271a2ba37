"""Random bits: what a selection has to beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from tf_laq import quantizers
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import whole
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import Policy, best_of, measured_entry
from tf_laq.policies.budget import Limit
from tf_laq.sensitivity import TensorSensitivity


@typed
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomBits(Policy):
    """Random bit widths within a limit on the size, each with the quantizer of the smallest error at that width.

    From the narrowest width on, a tensor drawn at random gets the next wider one, as long as there is one that fits.

    Attributes:
        limit: What all codes may take together; tensors set by hand count towards it.
        seed: Of the draws.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        max_bits: Widest setting.

    Raises:
        InputError: A setting is out of range.
    """

    limit: Limit
    seed: int = 0
    quantizers: tuple[str, ...] | None = None
    max_bits: int = 8

    def __post_init__(self) -> None:
        whole("seed", self.seed, minimum=0)
        quantizers.candidates(self.quantizers, self.max_bits)

    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order.

        Raises:
            InputError: Not even the narrowest settings fit.
        """
        settings = quantizers.candidates(self.quantizers, self.max_bits)
        measured = list(tensors)
        allowed = [tensor.allowed(settings) for tensor in measured]
        widths = [sorted({setting.bits for setting in of_tensor}) for of_tensor in allowed]
        sizes = [
            [self.limit.taken(bits, tensor.tensor.values.size) for bits in of_tensor]
            for tensor, of_tensor in zip(measured, widths, strict=True)
        ]
        rest = self.limit.rest([tensor.tensor.values.size for tensor in measured], by_hand)
        rest -= sum(size[0] for size in sizes)
        if rest < 0:
            raise self.limit.too_small(-rest)
        chosen, random = [0] * len(measured), np.random.default_rng(self.seed)
        while fitting := [
            (index, size[level + 1] - size[level])
            for index, (size, level) in enumerate(zip(sizes, chosen, strict=True))
            if level + 1 < len(size) and size[level + 1] - size[level] <= rest
        ]:
            index, more = fitting[random.integers(len(fitting))]
            chosen[index] += 1
            rest -= more
        return [
            measured_entry(tensor, best_of(tensor, [s for s in of_tensor if s.bits == bits[level]]), "drawn at random")
            for tensor, of_tensor, bits, level in zip(measured, allowed, widths, chosen, strict=True)
        ]

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"random bits ({self.limit}; seed {self.seed})"
