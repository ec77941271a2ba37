"""Decoupled direction and norm.

Rony et al. 2019, "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses".
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_laq._internal.validation import real, whole
from tf_laq.attacks.base import (
    DECISIVE,
    Images,
    Indices,
    Labels,
    Logits,
    MinimumNorm,
    MinimumNormAttack,
    by_example,
    margins,
)
from tf_laq.attacks.cleverhans import cross_entropy, nudge, scaled
from tf_laq.attacks.tracing import traced

# Length of the steps, in the first and in the last one: cosine annealing (section 5 of the paper).
FIRST_STEP, LAST_STEP = 1.0, 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDN(MinimumNormAttack):
    """Find the nearest adversarial image in L2 by walking along the border of the class.

    A step adds the unit gradient of the cross-entropy, times a falling step length, to the perturbation d, and brings
    it to the norm r: x + r d / ||d||_2, clipped to [0, 1]. The norm shrinks by the factor 1 - gamma while the image
    is adversarial, and grows by 1 + gamma while it is not (Rony et al. 2019, Algorithm 1, without its rounding to
    256 grey values). Nothing is random. An image that is misclassified already has distortion 0.

    Args:
        epsilon: L2 budget in pixel units: a call returns the clean image where the distortion found is
            larger. None for no budget.
        steps: Number of steps.
        gamma: Relative change of the norm in a step, from 0 to 1.
        initial_norm: The first norm, in pixel units.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> DDN(steps=300).gamma
        0.05
    """

    name: ClassVar[str] = "ddn"
    needs_gradient: ClassVar[bool] = True
    steps: int = 100
    gamma: float = 0.05
    initial_norm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("steps", self.steps)
        real("gamma", self.gamma, maximum=1.0)
        real("initial_norm", self.initial_norm)

    def _search(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> MinimumNorm:
        settings = (self.steps, tf.int32), (self.gamma, tf.float32), (self.initial_norm, tf.float32)
        constants = (tf.constant(value, dtype) for value, dtype in settings)
        clean, true = tf.constant(images), tf.constant(labels)
        found, distances = (value.numpy() for value in _walk(logits, clean, true, *constants))
        wrong = margins(logits(clean), true).numpy() < 0
        return MinimumNorm(found, np.where(wrong, np.float32(0), distances))


@traced
def _walk(
    logits: Logits,
    clean: tf.Tensor,
    labels: tf.Tensor,
    steps: tf.Tensor,
    gamma: tf.Tensor,
    initial_norm: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the nearest adversarial images and their L2 distances (infinite: none, and the clean image)."""

    def body(
        step: tf.Tensor, images: tf.Tensor, norm: tf.Tensor, best: tf.Tensor, nearest: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            outputs = logits(images)
            loss = cross_entropy(labels, outputs)
        gradient = tape.gradient(loss, images)
        perturbation = images - clean
        distance = _length(perturbation)
        adversarial = margins(outputs, labels) <= -DECISIVE
        nearer = adversarial & (distance < nearest)
        best = tf.raw_ops.Select(condition=nearer, x=images, y=best)
        nearest = tf.where(nearer, distance, nearest)
        progress = tf.cast(step, tf.float32) / tf.cast(steps, tf.float32)
        length = LAST_STEP + (FIRST_STEP - LAST_STEP) * (1.0 + tf.cos(math.pi * progress)) / 2.0
        perturbation += _of_length(scaled(gradient), tf.fill(tf.shape(norm), length)) + nudge(images, gradient)
        norm *= tf.where(adversarial, 1.0 - gamma, 1.0 + gamma)
        images = tf.clip_by_value(clean + _of_length(perturbation, norm), 0.0, 1.0)
        return step + 1, images, norm, best, nearest

    norm = tf.fill(tf.shape(labels), initial_norm)
    unreached = tf.fill(tf.shape(labels), np.float32(np.inf))
    state = (tf.constant(0), clean, norm, clean, unreached)
    *_, best, nearest = tf.while_loop(lambda step, *_: step < steps, body, state)
    return best, nearest


def _length(values: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(values), list(range(1, len(values.shape)))))


def _of_length(values: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Return each example's values with this L2 norm; zeros stay zeros."""
    return values * by_example(tf.math.divide_no_nan(length, _length(values)), values)
