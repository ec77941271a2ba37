"""The ways to quantize a model that are tried."""

from __future__ import annotations

import dataclasses
import re

from tf_laq import policies, quantizers
from tf_laq.attacks.base import Attack
from tf_laq.datasets import Split
from tf_laq.errors import InputError
from tf_laq.policies import DataDrivenPolicy, Limit, Policy
from tf_laq.training.recipes import Recipe

_AVERAGE_BITS = (3.0, 2.5, 2.0)
"""Sizes of the plans to try: on the networks of docs/results the least that keeps the worst case lies between them."""

_CALIBRATION_IMAGES = 64
_TUNED = "+ft"
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to quantize a model.

    Attributes:
        name: Its name in tables and files.
        policy: Chooses the bits.
        tuning: The recipe of an adversarial fine-tuning under the plan; None for none.
        matched: Match the statistics of an untuned one, where there are training images.
        can_be_tuned: Whether fine-tuning it could make a smaller file good enough.
        always_attacked: Attack it in full even where it cannot be recommended, for a comparison.

    Raises:
        InputError: The name could not be that of a file.
    """

    name: str
    policy: Policy | DataDrivenPolicy
    tuning: Recipe | None = None
    matched: bool = True
    can_be_tuned: bool = False
    always_attacked: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            expected = "letters, digits and the characters . _ + -, as in the name of a file"
            raise InputError("name of a candidate", expected=expected, received=repr(self.name))

    def tuned(self, recipe: Recipe) -> Candidate:
        """Return the same plan, fine-tuned."""
        return dataclasses.replace(self, name=f"{self.name}{_TUNED}", tuning=recipe, can_be_tuned=False)


def data_free() -> list[Candidate]:
    """Return the candidates that look at weights alone: eight bits as the safe one, `guarded`, and three sizes."""
    return [
        Candidate(name="linear-8", policy=policies.Uniform(quantizers.get("linear", 8))),
        Candidate(name="guarded", policy=policies.Guarded(), can_be_tuned=True),
        *(
            Candidate(
                name=f"budget-{bits:g}", policy=policies.Budget(limit=Limit(average_bits=bits)), can_be_tuned=True
            )
            for bits in _AVERAGE_BITS
        ),
    ]


def calibrated(train: Split, attack: Attack, seed: int) -> list[Candidate]:
    """Return the candidates whose bits are chosen by what the model does with images, of which they see 64.

    Args:
        train: Training images.
        attack: Perturbs half of them.
        seed: Of the attack.
    """
    return [
        Candidate(
            name=f"calibrated-{bits:g}",
            policy=policies.Calibrated(
                train.images[:_CALIBRATION_IMAGES], limit=Limit(average_bits=bits), attack=attack, seed=seed
            ),
        )
        for bits in _AVERAGE_BITS[:2]
    ]


def of_bytes(code_bytes: int) -> Candidate:
    """Return the candidate whose codes take at most so many bytes."""
    return Candidate(
        name=f"budget-{code_bytes}-bytes", policy=policies.Budget(limit=Limit(max_bytes=code_bytes)), can_be_tuned=True
    )
