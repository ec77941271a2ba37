"""The plan with the least predicted loss of all that fit a size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from tf_laq import quantizers
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import positive
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import Policy, measured_entry
from tf_laq.policies.guarded import SIZE_EXPONENT, input_weight, settings_for
from tf_laq.policies.knapsack import cheapest
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity

Cost = Callable[[TensorSensitivity, Quantizer], float]
"""The predicted loss from one setting of one weight tensor; the loss of a plan is taken for the sum.

In the words of a plan it has its attribute `name`, or its own name.
"""


def absolute_error(sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
    """Return ||W - W_q||, what Eq. (11b) limits."""
    return sensitivity.measure(quantizer).error_norm


def relative_error(sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
    """Return ||W - W_q|| / ||W||: times the product of all layers' norms, a bound on the change of the output."""
    return sensitivity.relative_error(quantizer)


def squared_relative_error(sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
    """Return (||W - W_q|| / ||W||)^2: the errors of different layers add up as if independent."""
    return sensitivity.relative_error(quantizer) ** 2


def guarded_error(sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
    """Return (v ||W - W_q|| / ||W||)^(4/3), v = `INPUT_WEIGHT` where the input enters and 1 elsewhere.

    At a given size its sum is least where the errors fall with n^(3/4), as the limits of `Guarded` do.
    """
    return math.pow(input_weight(sensitivity.tensor) * sensitivity.relative_error(quantizer), 1 / SIZE_EXPONENT)


def squared_error(sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
    """Return ||W - W_q||_F^2."""
    return sensitivity.squared_error(quantizer)


COSTS: Mapping[str, Cost] = {
    "absolute": absolute_error,
    "relative": relative_error,
    "squared_relative": squared_relative_error,
    "guarded": guarded_error,
    "squared": squared_error,
}
"""What `Budget` may minimise the sum of, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit on the size of a plan's codes: bits a weight on average, or bytes; exactly one of the two.

    Raises:
        InputError: Neither or both are given, or not as a number above 0.

    Example:
        >>> Limit(average_bits=3.5).rest([1000, 200])
        4200
    """

    average_bits: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if len(given) != 1:
            received = ", ".join(f"{name} {value}" for name, value in given.items()) or "neither"
            raise InputError("limit", expected="average_bits or max_bytes", received=received)
        for name, value in given.items():
            positive(name, value)

    def rest(self, weights: Sequence[int], by_hand: Sequence[PlanEntry] = ()) -> int:
        """Return the bits that are left for tensors of so many weights, beside those set by hand."""
        taken = sum(self.taken(entry.bits, entry.size) for entry in by_hand)
        if self.average_bits is None:
            return 8 * math.floor(self.max_bytes or 0) - taken
        # A product such as 0.7 * 10 is a hair below the whole number it stands for.
        count = sum(weights) + sum(entry.size for entry in by_hand)
        return math.floor(self.average_bits * count + 1e-6) - taken

    def taken(self, bits: int, weights: int) -> int:
        """Return the bits that a tensor takes of the limit: in bytes, the last is whole."""
        return bits * weights if self.max_bytes is None else 8 * -(-bits * weights // 8)

    def too_small(self, missing: int) -> InputError:
        """Return the error for a limit that not even the narrowest settings keep, by so many bits."""
        expected = "enough for the narrowest settings there are"
        return InputError("limit", expected=expected, received=f"{self}, {missing:,} bits too few")

    def __str__(self) -> str:
        return f"{self.average_bits:g} bits a weight" if self.max_bytes is None else f"{self.max_bytes:,} bytes"


@typed
@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget(Policy):
    """The exact minimum of the predicted loss, the sum over all tensors of `cost`, within a limit on the size.

    Tensors set by hand count towards the limit.

    Attributes:
        limit: What all codes may take together.
        cost: One of `COSTS` by name, or a function of a tensor's measurements and a setting.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        max_bits: Widest setting; None for 8, and 16 for a tensor of at most 1 % of all weights where the input enters.

    Raises:
        InputError: A setting is out of range.
    """

    limit: Limit
    cost: str | Cost = "guarded"
    quantizers: tuple[str, ...] | None = None
    max_bits: int | None = None

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers, self.max_bits)
        if isinstance(self.cost, str) and self.cost not in COSTS:
            raise InputError("cost", expected=f"a function, or one of {', '.join(COSTS)}", received=repr(self.cost))

    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order.

        Raises:
            InputError: Not even the narrowest settings fit, or a cost is not a finite number.
        """
        cost = COSTS[self.cost] if isinstance(self.cost, str) else self.cost
        measured = list(tensors)
        weights = [tensor.tensor.values.size for tensor in measured]
        total = sum(weights) + sum(entry.size for entry in by_hand)
        settings = [
            tensor.allowed(settings_for(tensor.tensor, self.quantizers, self.max_bits, total)) for tensor in measured
        ]
        costs = [
            [_finite(cost(tensor, setting), tensor, setting) for setting in of_tensor]
            for tensor, of_tensor in zip(measured, settings, strict=True)
        ]
        sizes = [
            [self.limit.taken(setting.bits, count) for setting in of_tensor]
            for of_tensor, count in zip(settings, weights, strict=True)
        ]
        rest = self.limit.rest(weights, by_hand)
        chosen = cheapest(costs, sizes, rest)
        if chosen is None:
            raise self.limit.too_small(sum(min(size) for size in sizes) - rest)
        return [
            measured_entry(tensor, settings[index][option], f"predicted loss {costs[index][option]:.3g}")
            for index, (tensor, option) in enumerate(zip(measured, chosen, strict=True))
        ]

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"budget ({self.limit}; least sum of the {_name_of(self.cost).replace('_', ' ')} error)"


def _name_of(cost: str | Cost) -> str:
    names = (getattr(cost, attribute, None) for attribute in ("name", "__name__"))
    return cost if isinstance(cost, str) else next(filter(None, names), type(cost).__name__)


def _finite(cost: float, tensor: TensorSensitivity, setting: Quantizer) -> float:
    if not math.isfinite(cost):
        where = f"cost of {setting!r} in layer {tensor.tensor.layer!r}"
        raise InputError(where, expected="a finite number", received=cost)
    return cost
