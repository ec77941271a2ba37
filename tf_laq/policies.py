"""Policies: from the measurements of a weight tensor to its quantizer and bit width.

Algorithm 1 and the thresholds of Eq. (11) are those of Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization
Optimization for Improving Robustness" (2021).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol

from tqdm import tqdm

from tf_laq import lipschitz, quantizers
from tf_laq.errors import InputError
from tf_laq.plan import FLOAT_BITS, LeftAlone, PlanEntry, QuantizationPlan, no_match
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity, WeightTensor


class UnsatisfiedWarning(UserWarning):
    """A weight tensor meets the policy's conditions under no setting; it got the best one there is."""


class Policy(Protocol):
    """Chooses a setting for one weight tensor."""

    def choose(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""

    def describe(self) -> str:
        """Return the policy and its settings in words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits of Algorithm 1, by default those of Eq. (11).

    A setting passes if ||W_q|| <= `ratio` * L_W (11a) and ||W - W_q|| <= `error_below` where L_W < `boundary`,
    `error_above` elsewhere (11b).

    Raises:
        InputError: A limit is not a number above zero.

    Example:
        >>> Thresholds().error_limit(2.9), Thresholds().error_limit(3.0)
        (0.3, 1.5)
    """

    ratio: float = 1.10
    boundary: float = 3.0
    error_below: float = 0.3
    error_above: float = 1.5

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InputError(field.name, expected="a number above 0", received=repr(value))

    def quantized_limit(self, norm: float) -> float:
        """Return the largest ||W_q|| that passes, Eq. (11a), for ||W|| = `norm`."""
        return self.ratio * norm

    def error_limit(self, norm: float) -> float:
        """Return the largest ||W - W_q|| that passes, Eq. (11b), for ||W|| = `norm`."""
        return self.error_below if norm < self.boundary else self.error_above


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm1:
    """The paper's Algorithm 1: bits upward per quantizer until both thresholds hold, then the smaller error.

    The error of a quantizer does not fall steadily with its bits, and that of the log quantizer has a floor, so a
    quantizer may never pass. It is tried up to `max_bits`, its own largest width, or the width beyond which its values
    no longer change; if it has not passed by then it is out. If all are out, the one with the smallest error at its
    last width is taken, with `satisfied=False` and a warning. Equal errors go to the later quantizer, as in the paper.

    Attributes:
        thresholds: The limits.
        methods: Names of the quantizers to try; None for all that are registered.
        max_bits: Widest setting to try; None for each quantizer's own.
    """

    thresholds: Thresholds = Thresholds()
    methods: tuple[str, ...] | None = None
    max_bits: int | None = None

    def __post_init__(self) -> None:
        for method in self.methods or ():
            quantizers.quantizer_class(method)
        if self.max_bits is not None:
            quantizers.Linear(self.max_bits)

    def choose(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        ends = {method: self._last_setting(sensitivity, method) for method in self.methods or quantizers.names()}
        passed = {method: quantizer for method, (quantizer, passes) in ends.items() if passes}
        pool = passed or {method: quantizer for method, (quantizer, _) in ends.items()}
        best = min(reversed(pool.values()), key=lambda quantizer: sensitivity.measure(quantizer).error_norm)
        others = [
            f"{method} passes at {quantizer.bits} (error {sensitivity.measure(quantizer).error_norm:.3g})"
            if passes
            else f"{method} fails to {quantizer.bits}"
            for method, (quantizer, passes) in ends.items()
            if quantizer is not best
        ]
        verdict = "passes" if passed else f"no setting passes, smallest error at {best.bits} bits"
        entry = measured_entry(sensitivity, best, "; ".join([verdict, *others]))
        return dataclasses.replace(entry, satisfied=bool(passed))

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        limits = ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(self.thresholds).items())
        return f"Algorithm 1 ({limits})"

    def _last_setting(self, sensitivity: TensorSensitivity, method: str) -> tuple[Quantizer, bool]:
        """Return the first setting of a quantizer that passes, or the last one tried, and whether it passes."""
        norm = sensitivity.norm
        limits = self.thresholds.quantized_limit(norm), self.thresholds.error_limit(norm)
        saturation = quantizers.quantizer_class(method).saturation_bits(sensitivity.tensor.values)
        settings = list(quantizers.candidates((method,), min(saturation, self.max_bits or saturation)))
        for quantizer in settings:
            if sensitivity.meets(quantizer, *limits):
                return quantizer, True
        return settings[-1], False


@dataclasses.dataclass(frozen=True)
class Uniform:
    """The same quantizer and bit width for every weight tensor (q1 and q2 of the paper at 3 bits)."""

    quantizer: Quantizer

    def choose(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        return measured_entry(sensitivity, self.quantizer, "the same for every tensor")

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"uniform {self.quantizer.name}, {self.quantizer.bits} bits"


def measured_entry(sensitivity: TensorSensitivity, quantizer: Quantizer | None, reason: str) -> PlanEntry:
    """Return the entry that gives a weight tensor this quantizer (None: float32), with its measurements."""
    tensor = sensitivity.tensor
    entry = PlanEntry(
        layer=tensor.layer,
        weight=tensor.weight,
        shape=tuple(tensor.values.shape),
        quantizer=None,
        bits=FLOAT_BITS,
        norm=sensitivity.norm,
        reason=reason,
    )
    if quantizer is None:
        return entry
    return dataclasses.replace(entry, **dataclasses.asdict(sensitivity.measure(quantizer)))


def make_plan(
    tensors: Sequence[WeightTensor],
    left_alone: Sequence[LeftAlone],
    policy: Policy,
    *,
    norm: lipschitz.NormName = "spectral",
    overrides: Mapping[str, Quantizer | None] | None = None,
    progress: bool = True,
) -> QuantizationPlan:
    """Ask the policy for every weight tensor.

    Args:
        tensors: The weight tensors of a model.
        left_alone: Its other layers, with the reasons.
        policy: What chooses.
        norm: "spectral" or "inf".
        overrides: Settings by hand: shell pattern of the layer path -> quantizer, or None for float32. The last
            pattern that matches counts.
        progress: Show a progress bar on a terminal.

    Raises:
        InputError: A pattern matches no layer, or there is no such norm.

    Warns:
        UnsatisfiedWarning: A weight tensor meets the policy's conditions under no setting.
    """
    layers = [tensor.layer for tensor in tensors]
    for pattern in overrides or {}:
        if not fnmatch.filter(layers, pattern):
            raise no_match(pattern, layers)
    entries = []
    for tensor in tqdm(tensors, "Quantization search", unit="tensor", disable=None if progress else True):
        sensitivity = TensorSensitivity(tensor, norm)
        by_hand = [q for pattern, q in (overrides or {}).items() if fnmatch.fnmatchcase(tensor.layer, pattern)]
        if by_hand:
            entries.append(measured_entry(sensitivity, by_hand[-1], "set by hand"))
        else:
            entries.append(policy.choose(sensitivity))
    plan = QuantizationPlan(policy.describe(), norm, tuple(entries), tuple(left_alone))
    failed = [f"{entry.layer}.{entry.weight}" for entry in entries if not entry.satisfied]
    if failed:
        warnings.warn(
            f"No setting meets the conditions of {policy.describe()} for {', '.join(failed)}: the plan has the setting "
            "with the smallest error there. Widen max_bits or the thresholds, or override these layers.",
            UnsatisfiedWarning,
            stacklevel=3,
        )
    return plan
