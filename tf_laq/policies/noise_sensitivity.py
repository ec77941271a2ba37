"""QUANOS-style selection: bits in proportion to a layer's adversarial noise sensitivity.

Panda 2020, "QUANOS: Adversarial Noise Sensitivity Driven Hybrid Quantization of Neural Networks". The paper finds the
bits during training; this is our reading of its idea for a trained network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from tf_laq import quantizers
from tf_laq.adapters import adapter_of
from tf_laq.attacks.base import Attack, Images
from tf_laq.attacks.checks import checked_images
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import TensorPolicy, best_of, check_candidates, measured_entry
from tf_laq.policies.data import as_float, recorded_outputs
from tf_laq.sensitivity import TensorSensitivity


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseSensitivity(TensorPolicy):
    """k_l = max(1, round(initial_bits * ANS_l / max ANS)) bits, with the quantizer of the smallest error at that width.

    Where no quantizer has that width it is the nearest wider one.

    Attributes:
        sensitivities: Layer path -> ANS of the layer.
        initial_bits: Bits of the most sensitive layer.
        methods: Names of the quantizers to choose from; None for all but those that are `by_name_only`.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> NoiseSensitivity(sensitivities={"conv": 0.4, "dense": 0.1}, initial_bits=8).bits("dense")
        2
    """

    sensitivities: Mapping[str, float]
    initial_bits: int = 8
    methods: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_candidates(self.methods, self.initial_bits)
        if not self.sensitivities:
            raise InputError("sensitivities", expected="one or more layers", received="none")

    def bits(self, layer: str) -> int:
        """Return the bits k_l of a layer."""
        largest = max(self.sensitivities.values())
        share = self.sensitivities[layer] / largest if largest else 1.0
        return max(1, round(self.initial_bits * share))

    def choose_one(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        layer = sensitivity.tensor.layer
        settings = list(quantizers.candidates(self.methods))
        wide_enough = [q.bits for q in settings if q.bits >= self.bits(layer)]
        width = min(wide_enough, default=max(q.bits for q in settings))
        best = best_of(sensitivity, [q for q in settings if q.bits == width])
        return measured_entry(sensitivity, best, f"noise sensitivity {self.sensitivities[layer]:.3g}")

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"QUANOS-style (at most {self.initial_bits} bits)"


def ans(
    model: Any,
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    attack: Attack,
    initial_bits: int = 8,
    methods: tuple[str, ...] | None = None,
    seed: int = 0,
) -> NoiseSensitivity:
    """Return the policy that gives a model's layers bits by their adversarial noise sensitivity.

    Args:
        model: A built Keras model.
        images: float images (n, height, width, channels) in [0, 1].
        labels: Their class numbers (n,).
        attack: Makes the adversarial images, such as `attacks.PGD(epsilon=0.3)`.
        initial_bits: Bits of the most sensitive layer.
        methods: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        seed: Of the attack.
    """
    found = noise_sensitivities(model, images, labels, attack=attack, seed=seed)
    return NoiseSensitivity(sensitivities=found, initial_bits=initial_bits, methods=methods)


def noise_sensitivities(
    model: Any, images: npt.ArrayLike, labels: npt.ArrayLike, *, attack: Attack, seed: int = 0
) -> dict[str, float]:
    """Return ANS_l, the mean over examples of ||a_adv - a|| / ||a||, a the output of layer l, by layer path."""
    clean = checked_images(images)
    return relative_changes(model, clean, attack(adapter_of(model).logits(model), clean, labels, seed=seed))


def relative_changes(model: Any, clean: Images, adversarial: Images) -> dict[str, float]:
    """Return ANS_l as `noise_sensitivities` does, for adversarial images that were made already."""
    paths = list(dict.fromkeys(tensor.layer for tensor in adapter_of(model).find_weights(model)[0]))
    with recorded_outputs(model, paths) as outputs:
        before, after = outputs(tf.constant(clean)), outputs(tf.constant(adversarial))
    return {path: _relative_change(before[path], after[path]) for path in paths}


def _relative_change(before: tf.Tensor, after: tf.Tensor) -> float:
    count = before.shape[0]
    a, b = (tf.reshape(tf.cast(outputs, tf.float32), [count, -1]) for outputs in (before, after))
    # A layer that is silent on an example has no relative change on it.
    return as_float(tf.reduce_mean(tf.math.divide_no_nan(tf.norm(b - a, axis=1), tf.norm(a, axis=1))))
