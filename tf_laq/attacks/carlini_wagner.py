"""Carlini and Wagner's L2 attack.

Carlini and Wagner 2017, "Towards Evaluating the Robustness of Neural Networks", section VI-A.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_laq.attacks.base import (
    DECISIVE_MARGIN,
    Images,
    Indices,
    Labels,
    Logits,
    MinimumNorm,
    MinimumNormAttack,
    margins,
)
from tf_laq.attacks.checks import real, whole

# Keeps the inverse hyperbolic tangent of black and white pixels finite.
TANH_RANGE = 0.999999
CONSTANT_GROWTH = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagner(MinimumNormAttack):
    """Find the nearest adversarial image in L2.

    Minimises ||x' - x||_2^2 + c * max(margin(x') + confidence, 0) over w with x' = (tanh(w) + 1) / 2 by Adam,
    the margin being the true class's logit minus the largest other one. Each example has its own c, searched
    by bisection: it falls after a success, and grows tenfold until the first one. An image that is
    misclassified already has distortion 0.

    Args:
        epsilon: L2 budget in pixel units: a call returns the clean image where the distortion found is
            larger. None for no budget.
        learning_rate: Learning rate of Adam.
        initial_constant: The first c.
        binary_search_steps: Number of values of c tried.
        steps: Number of Adam steps for each.
        confidence: Margin by which the image must be misclassified: larger transfers better, at a larger
            distortion.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> CarliniWagner(epsilon=1.5).steps
        200
    """

    name: ClassVar[str] = "cw_l2"
    needs_gradient: ClassVar[bool] = True
    learning_rate: float = 0.05
    initial_constant: float = 0.01
    binary_search_steps: int = 5
    steps: int = 200
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real("learning_rate", self.learning_rate)
        real("initial_constant", self.initial_constant)
        real("confidence", self.confidence)
        whole("binary_search_steps", self.binary_search_steps)
        whole("steps", self.steps)

    def _search(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> MinimumNorm:
        clean, true = tf.constant(images), tf.constant(labels)
        wrong = margins(logits(clean), true).numpy() < 0
        nearest, distances = images, np.where(wrong, 0, np.inf).astype(np.float32)
        constants = np.full(len(images), self.initial_constant, np.float32)
        lower, upper = np.zeros_like(constants), np.full_like(constants, np.inf)
        for _ in range(self.binary_search_steps):
            found = _descend(
                logits,
                clean,
                true,
                tf.constant(constants),
                tf.constant(self.steps),
                tf.constant(self.learning_rate, tf.float32),
                tf.constant(max(self.confidence, DECISIVE_MARGIN), tf.float32),
            )
            candidates, candidate_distances = (value.numpy() for value in found)
            nearer = candidate_distances < distances
            nearest = np.where(nearer[:, None, None, None], candidates, nearest)
            distances = np.where(nearer, candidate_distances, distances)
            success = np.isfinite(candidate_distances)
            upper, lower = np.where(success, constants, upper), np.where(success, lower, constants)
            bounded = np.isfinite(upper)
            middle = (lower + np.where(bounded, upper, lower)) / 2
            constants = np.where(bounded, middle, constants * CONSTANT_GROWTH).astype(np.float32)
        return MinimumNorm(nearest, distances)


@tf.function  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _descend(
    logits: Logits,
    clean: tf.Tensor,
    labels: tf.Tensor,
    constants: tf.Tensor,
    steps: tf.Tensor,
    learning_rate: tf.Tensor,
    confidence: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the nearest adversarial images of one Adam run and their L2 distances (infinite: none)."""

    def body(
        step: tf.Tensor, w: tf.Tensor, mean: tf.Tensor, square: tf.Tensor, best: tf.Tensor, nearest: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(w)
            images = (tf.tanh(w) + 1.0) / 2.0
            distances = tf.reduce_sum(tf.square(images - clean), [1, 2, 3])
            margin = margins(logits(images), labels)
            loss = distances + constants * tf.nn.relu(margin + confidence)
        gradient = tape.gradient(loss, w)
        nearer = tf.logical_and(margin <= -confidence, distances < nearest)
        best = tf.where(nearer[:, None, None, None], images, best)
        nearest = tf.where(nearer, distances, nearest)
        time = tf.cast(step + 1, tf.float32)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * tf.square(gradient)
        rate = learning_rate * tf.sqrt(1.0 - 0.999**time) / (1.0 - 0.9**time)
        return step + 1, w - rate * mean / (tf.sqrt(square) + 1e-8), mean, square, best, nearest

    start = tf.atanh((2.0 * clean - 1.0) * TANH_RANGE)
    zeros = tf.zeros_like(clean)
    unreached = tf.fill(tf.shape(labels), np.float32(np.inf))
    state = (tf.constant(0), start, zeros, zeros, clean, unreached)
    *_, best, nearest = tf.while_loop(lambda step, *_: step < steps, body, state)
    return best, tf.sqrt(nearest)
