"""The plan with the least divergence of the predictions, measured on images, of all that fit a size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tf_laq import quantizers
from tf_laq._internal.batches import images_alone
from tf_laq._internal.progress import progress_bar
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import called_on, checked_images, whole
from tf_laq.adapters import adapter_of, logits_function
from tf_laq.attacks.base import Attack
from tf_laq.attacks.half import half_adversarial
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import DataDrivenPolicy, Policy
from tf_laq.policies.budget import Budget, Limit, guarded_error
from tf_laq.policies.data_driven.data import Key
from tf_laq.policies.data_driven.divergence import LARGEST, Divergence, check_one_input
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity

# Of what is predicted for a setting that was not measured this share counts, so that more of them are tried than turn
# out to be good. With half, 32 tensors took 100 to 140 forward passes, and the plan had a sum within 10 % of the least.
_HOPE = 0.5


@typed
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Calibrated(DataDrivenPolicy):
    """The least sum over tensors of KL(p || p_t) within a limit on the size.

    p are the class probabilities of the model, p_t those with nothing but tensor t quantized; the divergence is
    the mean over the images, half of which an attack on the model perturbs. No labels are needed: the attack moves
    away from the model's own predictions. The running statistics of batch normalisations are matched to those of the
    float model in every measurement, as `training.match_statistics` does for the whole plan.

    A setting is measured, by one forward pass of all images, when the search comes to it. The search begins with the
    plan of `Budget`. It measures the settings of its plan and makes the plan of the least sum anew, as exactly as
    `Budget` does, until all settings of the plan are measured. What was not measured counts half of what
    ||W - W_q||^2 predicts from the measured setting with the nearest error. The sum is thus never above that of the
    plan of `Budget`. The divergence of the whole plan is measured at the end, and told in its description beside the
    sum.

    Attributes:
        images: float images (n, height, width, channels) in [0, 1] to measure on, of the kind that the model was
            trained on; the only setting that may be given without its name. 64 are enough.
        limit: What all codes may take together.
        attack: Perturbs the second half of the images, such as `attacks.PGD(epsilon=8 / 255, steps=10)`; None for
            images as they are.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        max_bits: Widest setting; None for 8, and 16 for a tensor of at most 1 % of all weights where the input enters.
        seed: Of the attack.

    Raises:
        InputError: A setting is out of range.
    """

    limit: Limit
    attack: Attack | None = None
    quantizers: tuple[str, ...] | None = None
    max_bits: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers, self.max_bits)
        whole("seed", self.seed, minimum=0)

    def measure(self, model: Any, *, progress: bool = True) -> Policy:
        """Return the policy that measures settings on a copy of this model as it chooses."""
        adapter_of(model).find_weights(model)  # Refuses what cannot be quantized.
        check_one_input(model)
        images = checked_images(images_alone(self.images))
        if self.attack is not None:
            images = half_adversarial(logits_function(model), images, self.attack, seed=self.seed)
        with called_on(images.shape[1:]):
            divergence = Divergence(model, images)
        return CalibratedBudget(self, divergence, progress)


class DivergenceCost:
    """The divergence from one setting of one weight tensor, measured or predicted: a cost for `Budget`.

    Args:
        divergence: Measures it.
    """

    name = "KL divergence"

    def __init__(self, divergence: Divergence) -> None:
        self._divergence = divergence
        self._measured: dict[Key, dict[Quantizer, float]] = {}

    def measured(self, key: Key, quantizer: Quantizer) -> float:
        """Return the divergence from a setting, measured once."""
        of_tensor = self._measured.setdefault(key, {})
        if quantizer not in of_tensor:
            of_tensor[quantizer] = self._divergence({key: quantizer})
        return of_tensor[quantizer]

    def unmeasured(self, plan: Mapping[Key, Quantizer]) -> list[tuple[Key, Quantizer]]:
        """Return the settings of a plan that were not measured."""
        return [(key, setting) for key, setting in plan.items() if setting not in self._measured.get(key, {})]

    def __call__(self, sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
        """Return half of D_0 (e / e_0)^2, with e = ||W - W_q|| and D_0, e_0 of the measured setting with the nearest e.

        While nothing of the tensor is measured it is the cost that `Budget` has by itself.
        """
        measured = self._measured.get((sensitivity.tensor.layer, sensitivity.tensor.weight))
        if measured is None:
            return guarded_error(sensitivity, quantizer)
        if quantizer in measured:
            return measured[quantizer]
        error = sensitivity.error_norm(quantizer)
        known = {at: found for setting, found in measured.items() if (at := sensitivity.error_norm(setting)) > 0}
        if not error or not known:  # A setting without an error tells nothing of the others: they are to be tried.
            return 0.0
        nearest = min(known, key=lambda at: abs(math.log(at / error)))
        return _HOPE * min(known[nearest] * (error / nearest) ** 2, LARGEST)


class CalibratedBudget(Policy):
    """The least sum of measured divergences within a limit on the size; `Calibrated` makes it for one model.

    Args:
        policy: The settings.
        divergence: Measures on the model.
        progress: Show a progress bar; in files and pipes, a line a minute.
    """

    def __init__(self, policy: Calibrated, divergence: Divergence, progress: bool) -> None:
        self._policy, self._divergence, self._progress = policy, divergence, progress
        self._outcome = ""

    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order.

        Raises:
            InputError: Not even the narrowest settings fit.
        """
        given, cost, settings = list(tensors), DivergenceCost(self._divergence), self._policy
        budget = Budget(limit=settings.limit, cost=cost, quantizers=settings.quantizers, max_bits=settings.max_bits)
        entries = budget.choose(given, by_hand)
        with progress_bar(shown=self._progress, desc="Calibration", unit="setting") as bar:
            while wanted := cost.unmeasured(_settings(entries)):
                for key, setting in wanted:
                    cost.measured(key, setting)
                    bar.update()
                entries = budget.choose(given, by_hand)
        self._outcome = self._compared(_settings([*entries, *by_hand]), cost)
        return entries

    def describe(self) -> str:
        """Return the policy and its settings in words, and what the plan that it made costs."""
        return f"calibrated ({self._policy.limit}{self._outcome})"

    def _compared(self, plan: Mapping[Key, Quantizer], cost: DivergenceCost) -> str:
        together, alone = self._divergence(plan), sum(cost.measured(key, setting) for key, setting in plan.items())
        unmatched = f" and {self._divergence.unmatched(plan):.3g} if not" if self._divergence.matches else ""
        matched = " with matched statistics" if unmatched else ""
        return f"; KL divergence {together:.3g}{matched}{unmatched}, the sum over its tensors one by one {alone:.3g}"


def _settings(entries: Sequence[PlanEntry]) -> dict[Key, Quantizer]:
    return {(e.layer, e.weight): setting for e in entries if (setting := e.make_quantizer()) is not None}
