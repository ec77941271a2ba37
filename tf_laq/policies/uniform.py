"""The same setting everywhere."""

from __future__ import annotations

import dataclasses

from tf_laq._internal.typed import typed
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import TensorPolicy, measured_entry
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity


@typed
@dataclasses.dataclass(frozen=True)
class Uniform(TensorPolicy):
    """The same quantizer and bit width for every weight tensor (q1 and q2 of the paper at 3 bits)."""

    quantizer: Quantizer

    def choose_one(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        (setting,) = sensitivity.allowed([self.quantizer])
        return measured_entry(sensitivity, setting, "the same for every tensor")

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"uniform {self.quantizer.name}, {self.quantizer.bits} bits"
