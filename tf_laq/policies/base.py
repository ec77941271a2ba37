"""What a policy is, and how it makes a plan of a model's weight tensors."""

from __future__ import annotations

import abc
import dataclasses
import fnmatch
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tf_laq import lipschitz, quantizers
from tf_laq._internal.batches import ImageData
from tf_laq._internal.progress import progress_bar
from tf_laq.errors import InputError
from tf_laq.plan import FLOAT_BITS, LeftAlone, PlanEntry, QuantizationPlan
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import IsAllowed, TensorSensitivity, WeightTensor


class UnsatisfiedWarning(UserWarning):
    """A weight tensor meets the policy's conditions under no setting; it got the best one there is."""


class Policy(abc.ABC):
    """Chooses a setting for every weight tensor of a model."""

    @abc.abstractmethod
    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order.

        Args:
            tensors: Each is measured when the policy comes to it, and may get the settings that it allows.
            by_hand: The entries of the model's other weight tensors, which were set by hand.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """Return the policy and its settings in words."""


class TensorPolicy(Policy):
    """A policy that looks at one weight tensor at a time."""

    def choose(self, tensors: Iterable[TensorSensitivity], by_hand: Sequence[PlanEntry] = ()) -> list[PlanEntry]:
        """Return the entries of the plan for these weight tensors, in their order."""
        return [self.choose_one(tensor) for tensor in tensors]

    @abc.abstractmethod
    def choose_one(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""


@dataclasses.dataclass(frozen=True, eq=False)
class DataDrivenPolicy(abc.ABC):
    """A policy that looks at a model and at images before it chooses; `laq.search` has it measure its model.

    Attributes:
        images: float images (n, height, width, channels) in [0, 1] to measure on, or batches of images and labels: a
            `tf.data.Dataset`, a Keras Sequence or PyDataset, or a generator that ends.
    """

    images: ImageData

    @abc.abstractmethod
    def measure(self, model: Any, *, progress: bool = True) -> Policy:
        """Return the policy that chooses by what was measured on a built Keras model."""


def best_of(sensitivity: TensorSensitivity, settings: Iterable[Quantizer]) -> Quantizer:
    """Return the setting with the smallest ||W - W_q||; equal ones go to the later, as in the paper."""
    best = best_within(sensitivity, settings, math.inf)
    assert best is not None
    return best


def best_within(sensitivity: TensorSensitivity, settings: Iterable[Quantizer], limit: float) -> Quantizer | None:
    """Return the setting with the smallest ||W - W_q|| of those with at most `limit`, as `best_of` does, or None."""
    best = None
    for setting in reversed(list(settings)):
        error = sensitivity.error_within(setting, limit)
        if error is not None and (best is None or error < limit):
            best, limit = setting, error
    return best


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
    overrides: Mapping[str, str | Quantizer | None] | None = None,
    is_allowed: IsAllowed | None = None,
    progress: bool = True,
) -> QuantizationPlan:
    """Ask the policy for the settings of all weight tensors.

    Args:
        tensors: The weight tensors of a model.
        left_alone: Its other layers, with the reasons.
        policy: What chooses.
        norm: "spectral" or "inf".
        overrides: Settings by hand: shell pattern of the layer path -> "quantizer:bits", "float32", a quantizer, or
            None for float32. The last pattern that matches counts.
        is_allowed: Which settings a weight tensor may get, by hand too; None for all. Float32 is always allowed.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Raises:
        InputError: A pattern matches no layer, there is no such setting or norm, or a weight tensor may get none of
            the settings.

    Warns:
        UnsatisfiedWarning: A weight tensor meets the policy's conditions under no setting.
    """
    layers = [tensor.layer for tensor in tensors]
    parsed = {
        pattern: quantizers.parse(setting, f"overrides[{pattern!r}]") for pattern, setting in (overrides or {}).items()
    }
    for pattern in parsed:
        if not fnmatch.filter(layers, pattern):
            raise InputError(
                "overrides",
                expected=f"patterns for the layers {', '.join(dict.fromkeys(layers))}",
                received=repr(pattern),
            )
    by_hand = {}
    for index, tensor in enumerate(tensors):
        settings = [q for pattern, q in parsed.items() if fnmatch.fnmatchcase(tensor.layer, pattern)]
        if settings:
            sensitivity, setting = TensorSensitivity(tensor, norm, is_allowed), settings[-1]
            if setting is not None:
                sensitivity.allowed([setting])
            by_hand[index] = measured_entry(sensitivity, setting, "set by hand")
    free = [tensor for index, tensor in enumerate(tensors) if index not in by_hand]
    bar = progress_bar(free, shown=progress, desc="Quantization search", unit="tensor")
    measured = (TensorSensitivity(tensor, norm, is_allowed) for tensor in bar)
    chosen = iter(policy.choose(measured, tuple(by_hand.values())))
    entries = [by_hand[index] if index in by_hand else next(chosen) for index in range(len(tensors))]
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
