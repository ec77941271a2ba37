"""Uniform noise: the random perturbation of the same size as an attack's."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tf_laq.attacks.base import BallAttack, Images, Indices, Labels, Logits
from tf_laq.attacks.cleverhans import project
from tf_laq.attacks.randomness import uniform_in_ball


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
