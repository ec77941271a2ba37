"""What is quantized, and how hard it is attacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from research.validation import real, whole
from tf_laq import quantizers
from tf_laq.attacks import BallAttack, Battery
from tf_laq.errors import InputError
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """What is run on a network.

    Attributes:
        epsilon: L-inf radius of the attacks in pixel units.
        quantizers: Names of the quantizers; None for all that are registered.
        bits: Bit widths; a quantizer leaves out those that it does not have.
        max_settings: Most layers times quantizers times bits: with fewer than all, some layers are drawn, each with
            all its settings. Layers that the input reaches first are always among them.
        examples: Number of images that the float network withstands and that are attacked again.
        steps: Steps of Auto-PGD.
        queries: Queries of Square.
        calibration: Number of training images that predictors with data look at.
        seed: Of the attacks and of what is drawn.

    Raises:
        InputError: A number is out of range, or there is no such quantizer or none of these bit widths.
    """

    epsilon: float
    quantizers: tuple[str, ...] | None = None
    bits: tuple[int, ...] = (2, 3, 4, 5, 6)
    max_settings: int | None = None
    examples: int = 200
    steps: int = 20
    queries: int = 300
    calibration: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        real("epsilon", self.epsilon, maximum=1.0)
        for name in ("examples", "steps", "queries", "calibration"):
            whole(name, getattr(self, name))
        whole("seed", self.seed, minimum=0)
        if self.max_settings is not None:
            whole("max_settings", self.max_settings)
        if not self.choices:
            raise InputError("bits", expected="a bit width of one of the quantizers", received=self.bits)

    @classmethod
    def of(cls, dataset: str, **changes: Any) -> LayerSettings:
        """Return the settings for a data set, with its customary radius; `changes` that are None count for nothing.

        Raises:
            InputError: There is no such data set, or a change is out of range.

        Example:
            >>> LayerSettings.of("mnist", steps=10).epsilon
            0.3
        """
        attack = Battery.preset(dataset).only("pgd").columns[0].attacks["white"]
        assert isinstance(attack, BallAttack)
        return cls(**{"epsilon": attack.epsilon, **{k: v for k, v in changes.items() if v is not None}})

    @property
    def choices(self) -> tuple[Quantizer, ...]:
        """All settings of one layer.

        Example:
            >>> LayerSettings(epsilon=0.3, quantizers=("log", "kmeans"), bits=(1, 2)).choices
            (Log(bits=1), Log(bits=2), KMeans(bits=2))
        """
        classes = [quantizers.quantizer_class(name) for name in self.quantizers or quantizers.names()]
        return tuple(cls(bits) for cls in classes for bits in self.bits if cls.min_bits <= bits <= cls.max_bits)

    def layers(self, tensors: Sequence[WeightTensor]) -> list[int]:
        """Return the places of the weight tensors that are quantized, ascending."""
        count = len(tensors)
        if self.max_settings is not None:
            count = min(count, max(1, self.max_settings // len(self.choices)))
        first = [place for place, tensor in enumerate(tensors) if tensor.fed_by_input]
        others = [place for place, tensor in enumerate(tensors) if not tensor.fed_by_input]
        drawn = np.random.default_rng(self.seed).permutation(others).tolist()
        return sorted([*first, *drawn][:count])

    def attack_facts(self) -> dict[str, Any]:
        """Return what the losses depend on, as JSON-ready values."""
        names = ("epsilon", "examples", "steps", "queries", "seed")
        return {name: getattr(self, name) for name in names}
