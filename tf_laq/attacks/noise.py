"""Noise: perturbations that know neither the model nor the label."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_laq._internal.validation import real
from tf_laq.attacks.base import Attack, BallAttack, Images, Indices, Labels, Logits
from tf_laq.attacks.cleverhans import project
from tf_laq.attacks.randomness import per_example, uniform_in_ball


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(Attack):
    """Add independent normal noise to every value: clip(x + standard_deviation * z, 0, 1), z ~ N(0, 1).

    Args:
        standard_deviation: Strength of the noise before clipping, in pixel units.

    Raises:
        InputError: The standard deviation is negative or not finite.

    Example:
        >>> GaussianNoise(standard_deviation=0.1)
        GaussianNoise(standard_deviation=0.1)
    """

    name: ClassVar[str] = "gaussian"
    standard_deviation: float

    def __post_init__(self) -> None:
        real("standard_deviation", self.standard_deviation)

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        shape = images.shape[1:]
        noise = per_example(lambda random: random.standard_normal(shape), seed, indices, self.name)
        noisy: Images = np.clip(images + np.float32(self.standard_deviation) * noise, 0.0, 1.0)
        return noisy


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformNoise(BallAttack):
    """Add noise drawn uniformly from the ball, for "linf" independently from [-epsilon, epsilon], and clip.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> UniformNoise(epsilon=0.25)
        UniformNoise(epsilon=0.25, norm='linf')
    """

    name: ClassVar[str] = "uniform"

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        noise = uniform_in_ball(images.shape[1:], self.epsilon, self.norm, seed, indices, self.name)
        noisy: Images = project(tf.constant(images + noise), tf.constant(images), self.epsilon, self.norm).numpy()
        return noisy
