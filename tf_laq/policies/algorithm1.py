"""Algorithm 1 and the thresholds of Eq. (11).

Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness" (2021).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import groupby

from tf_laq import quantizers
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import TensorPolicy, best_of, measured_entry
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity

_OF_THE_PAPER = ("linear", "log")


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
class Algorithm1(TensorPolicy):
    """The paper's Algorithm 1: bits upward per quantizer until both thresholds hold, then the smaller error.

    The error of a quantizer does not fall steadily with its bits, and that of the log quantizer has a floor, so a
    quantizer may never pass. It is tried up to `max_bits`, its own largest width, or the width beyond which its values
    no longer change; if it has not passed by then it is out. If all are out, the one with the smallest error at its
    last width is taken, with `satisfied=False` and a warning. Equal errors go to the later quantizer, as in the paper.

    Attributes:
        thresholds: The limits.
        quantizers: Names of the quantizers to try; None for the paper's, linear and log.
        max_bits: Widest setting to try; None for each quantizer's own.
    """

    thresholds: Thresholds = Thresholds()
    quantizers: tuple[str, ...] | None = None
    max_bits: int | None = None

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers or _OF_THE_PAPER, self.max_bits)

    def choose_one(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        ends = dict(self._ends(sensitivity))
        passed = {method: quantizer for method, (quantizer, passes) in ends.items() if passes}
        pool = passed or {method: quantizer for method, (quantizer, _) in ends.items()}
        best = best_of(sensitivity, pool.values())
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

    def _ends(self, sensitivity: TensorSensitivity) -> Iterator[tuple[str, tuple[Quantizer, bool]]]:
        """Give for each quantizer the first setting that passes, or the last one tried, and whether it passes."""
        norm = sensitivity.norm
        limits = self.thresholds.quantized_limit(norm), self.thresholds.error_limit(norm)
        settings = sensitivity.allowed(quantizers.candidates(self.quantizers or _OF_THE_PAPER, self.max_bits))
        for name, of_quantizer in groupby(settings, lambda setting: setting.name):
            widest = quantizers.quantizer_class(name).saturation_bits(sensitivity.tensor.values)
            narrowest, *wider = of_quantizer
            for last in (narrowest, *(setting for setting in wider if setting.bits <= widest)):
                passes = sensitivity.meets(last, *limits)
                if passes:
                    break
            yield name, (last, passes)
