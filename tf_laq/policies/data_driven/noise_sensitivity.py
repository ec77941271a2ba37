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
from tf_laq._internal.batches import ImageData, images_and_labels
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import called_on, checked_images, whole
from tf_laq.adapters import adapter_of
from tf_laq.attacks.base import Attack, Images
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry
from tf_laq.policies.base import DataDrivenPolicy, TensorPolicy, best_of, measured_entry
from tf_laq.policies.data_driven.data import as_float, recorded_outputs
from tf_laq.sensitivity import TensorSensitivity


@typed
@dataclasses.dataclass(frozen=True, kw_only=True)
class BitsBySensitivity(TensorPolicy):
    """k_l = max(1, round(initial_bits * ANS_l / max ANS)) bits, with the quantizer of the smallest error at that width.

    Where no quantizer has that width it is the nearest wider one.

    Attributes:
        sensitivities: Layer path -> ANS of the layer.
        initial_bits: Bits of the most sensitive layer.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> BitsBySensitivity(sensitivities={"conv": 0.4, "dense": 0.1}, initial_bits=8).bits("dense")
        2
    """

    sensitivities: Mapping[str, float]
    initial_bits: int = 8
    quantizers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers, self.initial_bits)
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
        settings = sensitivity.allowed(quantizers.candidates(self.quantizers))
        wide_enough = [q.bits for q in settings if q.bits >= self.bits(layer)]
        width = min(wide_enough, default=max(q.bits for q in settings))
        best = best_of(sensitivity, [q for q in settings if q.bits == width])
        return measured_entry(sensitivity, best, f"noise sensitivity {self.sensitivities[layer]:.3g}")

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"QUANOS-style (at most {self.initial_bits} bits)"


@typed
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NoiseSensitivity(DataDrivenPolicy):
    """Bits in proportion to ANS_l, a layer's adversarial noise sensitivity (`noise_sensitivities`).

    Attributes:
        images: Images to attack, as for every `DataDrivenPolicy`.
        labels: Their classes; none beside batches.
        attack: Makes the adversarial images, such as `attacks.PGD(epsilon=0.3)`.
        initial_bits: Bits of the most sensitive layer.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        seed: Of the attack.

    Raises:
        InputError: A setting is out of range.
    """

    labels: npt.ArrayLike | None = dataclasses.field(default=None, kw_only=False)
    attack: Attack
    initial_bits: int = 8
    quantizers: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        quantizers.candidates(self.quantizers, self.initial_bits)
        whole("seed", self.seed, minimum=0)

    def measure(self, model: Any, *, progress: bool = True) -> BitsBySensitivity:
        """Return the policy that goes by the sensitivities of this model's layers."""
        found = noise_sensitivities(model, self.images, self.labels, attack=self.attack, seed=self.seed)
        return BitsBySensitivity(sensitivities=found, initial_bits=self.initial_bits, quantizers=self.quantizers)


def noise_sensitivities(
    model: Any, images: ImageData, labels: npt.ArrayLike | None = None, *, attack: Attack, seed: int = 0
) -> dict[str, float]:
    """Return ANS_l, the mean over examples of ||a_adv - a|| / ||a||, a the output of layer l, by layer path."""
    images, labels = images_and_labels(images, labels)
    clean = checked_images(images)
    return relative_changes(model, clean, attack(adapter_of(model).logits(model), clean, labels, seed=seed))


def relative_changes(model: Any, clean: Images, adversarial: Images) -> dict[str, float]:
    """Return ANS_l as `noise_sensitivities` does, for adversarial images that were made already.

    Args:
        model: A built Keras model.
        clean: float32 images (n, height, width, channels).
        adversarial: float32 adversarial images made of them.

    Example:
        >>> import tf_keras
        >>> layers = [tf_keras.layers.Flatten(), tf_keras.layers.Dense(2, use_bias=False, name="dense")]
        >>> model = tf_keras.Sequential([tf_keras.layers.Input((2, 2, 1)), *layers])
        >>> image = tf.fill((1, 2, 2, 1), 0.2).numpy()
        >>> {layer: round(change, 3) for layer, change in relative_changes(model, image, 2 * image).items()}
        {'dense': 1.0}
    """
    clean, adversarial = checked_images(clean), checked_images(adversarial)
    if adversarial.shape != clean.shape:
        expected = f"images of shape {clean.shape}, as the clean ones"
        raise InputError("adversarial", expected=expected, received=f"shape {adversarial.shape}")
    paths = list(dict.fromkeys(layer for layer, _ in adapter_of(model).variables(model)))
    with recorded_outputs(model, paths) as outputs, called_on(clean.shape[1:]):
        before, after = outputs(tf.constant(clean)), outputs(tf.constant(adversarial))
    return {path: _relative_change(before[path], after[path]) for path in paths}


def _relative_change(before: tf.Tensor, after: tf.Tensor) -> float:
    count = before.shape[0]
    a, b = (tf.reshape(tf.cast(outputs, tf.float32), [count, -1]) for outputs in (before, after))
    # A layer that is silent on an example has no relative change on it.
    return as_float(tf.reduce_mean(tf.math.divide_no_nan(tf.norm(b - a, axis=1), tf.norm(a, axis=1))))
