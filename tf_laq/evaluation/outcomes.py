"""What is measured: for every model, attack and example, whether the model was right."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_laq._internal.archives import Array
from tf_laq._internal.documents import Count, Size
from tf_laq.attacks.base import Attack, BallAttack, Images, MinimumNormAttack
from tf_laq.errors import InputError

Correct = npt.NDArray[np.bool_]
Distortions = npt.NDArray[np.float32]


class Cell(NamedTuple):
    """What an outcome belongs to; the fields are those of `Outcome`."""

    model: str
    column: str
    knowledge: str
    surrogate: str | None
    second_search: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attack did to one model.

    Attributes:
        model: Name of the evaluated model.
        column: Name of the battery's column.
        knowledge: "none", "gray" or "white".
        surrogate: Name of the model that the examples were made on, for gray-box examples only.
        count: Number of examples.
        bits: One bit per example, 1 where the model was right: NumPy's `packbits` as hexadecimal text.
        median_distortion: For white-box minimum-norm attacks, the median over the examples that the model
            gets right without an attack; None where fewer than half were broken, and for other attacks.
        second_search: Whether this is the second search of a white-box attack, on what the first one left.

    Raises:
        InputError: The bits are not `count` bits.
    """

    model: str
    column: str
    knowledge: str
    surrogate: str | None = None
    count: Count
    bits: str
    median_distortion: Size | None = None
    second_search: bool = False

    def __post_init__(self) -> None:
        try:
            length = len(bytes.fromhex(self.bits))
        except ValueError:
            length = -1
        if length != -(-self.count // 8):
            expected = f"{self.count} bits as hexadecimal text"
            raise InputError(f"outcome of {self.column} on {self.model}", expected=expected, received=self.bits)

    @classmethod
    def record(cls, correct: Correct, **fields: Any) -> Outcome:
        """Build an outcome from the booleans of its examples.

        Example:
            >>> Outcome.record(np.array([True, False]), model="m", column="clean", knowledge="none").bits
            '80'
        """
        return cls(bits=np.packbits(correct).tobytes().hex(), count=len(correct), **fields)

    def only(self, left: Correct) -> Outcome:
        """Return the outcome with all examples broken that are not among those left, shape (count,)."""
        bits = np.packbits(self.correct & left).tobytes().hex()
        return dataclasses.replace(self, bits=bits)

    @functools.cached_property
    def correct(self) -> Correct:
        """Whether the model was right, per example, shape (count,)."""
        packed = np.frombuffer(bytes.fromhex(self.bits), np.uint8)
        return np.unpackbits(packed, count=self.count).astype(np.bool_)


@dataclasses.dataclass(frozen=True)
class PartResult:
    """What the attacks did to a part of the examples, or to all.

    Attributes:
        correct: Per cell of the table, where the model was right.
        distortions: Per white-box cell of a minimum-norm attack, the distortions of the examples that the model
            gets right without an attack.
        excess: Per model, how far an image that it was shown lies outside of its ball or [0, 1], in pixel units.
    """

    correct: Mapping[Cell, Correct]
    distortions: Mapping[Cell, Distortions]
    excess: Mapping[str, float]

    @classmethod
    def joined(cls, parts: Sequence[PartResult]) -> PartResult:
        """Return the parts, in the order of their examples, as one."""
        first = parts[0]
        return cls(
            {cell: np.concatenate([part.correct[cell] for part in parts]) for cell in first.correct},
            {cell: np.concatenate([part.distortions[cell] for part in parts]) for cell in first.distortions},
            {model: max(part.excess[model] for part in parts) for model in first.excess},
        )

    def surviving(self, model: str) -> Correct:
        """Return where a model was right under every attack."""
        found = [correct for cell, correct in self.correct.items() if cell.model == model]
        together: Correct = np.logical_and.reduce(found)
        return together

    def outcomes(self, cells: Sequence[Cell]) -> tuple[Outcome, ...]:
        """Return the outcomes of these cells, in their order."""
        medians = {cell: _median(found) for cell, found in self.distortions.items()}
        return tuple(
            Outcome.record(self.correct[cell], **cell._asdict(), median_distortion=medians.get(cell)) for cell in cells
        )

    def to_arrays(self) -> dict[str, Array]:
        """Return the result as arrays, which `from_arrays` reads back."""
        arrays: dict[str, Array] = {
            "cells": np.array([json.dumps(cell) for cell in self.correct]),
            "models": np.array(list(self.excess)),
            "excess": np.array(list(self.excess.values())),
        }
        for number, cell in enumerate(self.correct):
            arrays[f"cell{number}.correct"] = self.correct[cell]
            if cell in self.distortions:
                arrays[f"cell{number}.distortions"] = self.distortions[cell]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> PartResult:
        """Build the result from what `to_arrays` returned."""
        names = {Cell(*json.loads(cell)): f"cell{number}" for number, cell in enumerate(arrays["cells"].tolist())}
        return cls(
            {cell: arrays[f"{name}.correct"] for cell, name in names.items()},
            {c: arrays[f"{name}.distortions"] for c, name in names.items() if f"{name}.distortions" in arrays},
            dict(zip(arrays["models"].tolist(), arrays["excess"].tolist(), strict=True)),
        )


def _median(distortions: Distortions) -> float | None:
    median = float(np.median(distortions)) if distortions.size else np.inf
    return median if np.isfinite(median) else None


def ball_of(attack: Attack) -> tuple[str, float] | None:
    """Return the norm and the radius of the ball that an attack's images are in; None if there is none."""
    if isinstance(attack, BallAttack):
        return attack.norm, attack.epsilon
    if isinstance(attack, MinimumNormAttack) and attack.epsilon is not None:
        return "l2", attack.epsilon
    return None


def excess_of(attack: Attack, adversarial: Images, images: Images) -> float:
    """Return how far any image is outside of [0, 1] or the attack's ball, in pixel units; infinite for NaN."""
    if not adversarial.size:
        return 0.0
    if not np.isfinite(adversarial).all():
        return np.inf
    excess = max(float(adversarial.max()) - 1.0, -float(adversarial.min()), 0.0)
    ball = ball_of(attack)
    if ball is None:
        return excess
    norm, epsilon = ball
    changes = (adversarial - images).reshape(len(images), -1)
    distances = np.abs(changes).max(axis=1) if norm == "linf" else np.linalg.norm(changes, axis=1)
    return max(excess, float(distances.max()) - epsilon)
