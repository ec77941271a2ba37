"""Carlini and Wagner's L2 attack.

Carlini and Wagner 2017, "Towards Evaluating the Robustness of Neural Networks", sections V and VI-A.
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
from tf_laq.attacks.cleverhans import finite, nudge
from tf_laq.attacks.ddn import DDN
from tf_laq.attacks.tracing import traced

# A constant grows by this factor until the first success, and falls to the middle of its bounds after one.
CONSTANT_GROWTH = 4.0
MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagner(MinimumNormAttack):
    """Find the nearest adversarial image in L2.

    Minimises ||x' - x||_2^2 + c * max(margin(x') + confidence, 0) over x' by Adam, the margin being the true class's
    logit minus the largest other one. After each step x' is clipped to [0, 1] (projected gradient descent, section
    V-B: under the paper's tanh, black and white pixels hardly move), and the steps shorten to 0 (cosine). The first
    descent starts from the image that `DDN` finds, the others from the nearest image so far. Each example has its own
    c, searched by bisection: it falls after a success, and grows until the first one. An image that is misclassified
    already has distortion 0.

    Args:
        epsilon: L2 budget in pixel units: a call returns the clean image where the distortion found is
            larger. None for no budget.
        learning_rate: Learning rate of Adam, at first.
        initial_constant: The first c, in units of the one that keeps the start d = x' - x in balance:
            2 ||d||_2 / ||gradient of the margin||_2.
        binary_search_steps: Number of values of c tried.
        steps: Number of Adam steps for each.
        start_steps: Number of steps of `DDN`.
        confidence: Margin by which the image must be misclassified: larger transfers better, at a larger
            distortion.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> CarliniWagner(epsilon=1.5).steps
        50
    """

    name: ClassVar[str] = "cw_l2"
    needs_gradient: ClassVar[bool] = True
    learning_rate: float = 0.05
    initial_constant: float = 3.0
    binary_search_steps: int = 3
    steps: int = 50
    start_steps: int = 100
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real("learning_rate", self.learning_rate)
        real("initial_constant", self.initial_constant)
        real("confidence", self.confidence)
        whole("binary_search_steps", self.binary_search_steps)
        whole("steps", self.steps)
        whole("start_steps", self.start_steps)

    def _search(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> MinimumNorm:
        clean, true = tf.constant(images), tf.constant(labels)
        start, distances = DDN(steps=self.start_steps).search(logits, images, labels)
        wrong = distances == 0.0
        constants = self.initial_constant * _balance(logits, clean, true, tf.constant(start)).numpy()
        nearest, distances = images.copy(), np.where(wrong, 0, np.inf).astype(np.float32)
        lower, upper = np.zeros_like(constants), np.full_like(constants, np.inf)
        for _ in range(self.binary_search_steps):
            found = _descend(
                logits,
                clean,
                true,
                tf.constant(start),
                tf.constant(constants),
                tf.constant(self.steps),
                tf.constant(self.learning_rate, tf.float32),
                tf.constant(max(self.confidence, DECISIVE), tf.float32),
            )
            candidates, candidate_distances, success = (value.numpy() for value in found)
            nearer = candidate_distances < distances
            nearest[nearer], distances[nearer] = candidates[nearer], candidate_distances[nearer]
            start = np.where(by_example(np.isfinite(distances), images), nearest, start)
            upper, lower = np.where(success, constants, upper), np.where(success, lower, constants)
            bounded = np.isfinite(upper)
            middle = (lower + np.where(bounded, upper, lower)) / 2
            constants = np.where(bounded, middle, constants * CONSTANT_GROWTH).astype(np.float32)
        return MinimumNorm(nearest, distances)


@traced
def _balance(logits: Logits, clean: tf.Tensor, labels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return the constants at which the two terms of the loss pull images equally, shape (n,).

    An image that is the clean one counts as 1 away from it, and a slope of 0 as 1.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        margin = margins(logits(images), labels)
    gradient = finite(tape.gradient(margin, images))
    distance, slope = (tf.norm(tf.reshape(v, [tf.size(labels), -1]), axis=1) for v in (images - clean, gradient))
    distance, slope = (tf.where(value > 0.0, value, 1.0) for value in (distance, slope))
    return 2.0 * distance / slope


@traced
def _descend(
    logits: Logits,
    clean: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    constants: tf.Tensor,
    steps: tf.Tensor,
    learning_rate: tf.Tensor,
    confidence: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Descend once by Adam.

    Returns:
        The nearest adversarial images on the way, their L2 distances (infinite: none), and whether one was met in the
        second half of the steps.
    """

    def body(
        step: tf.Tensor,
        images: tf.Tensor,
        mean: tf.Tensor,
        square: tf.Tensor,
        best: tf.Tensor,
        nearest: tf.Tensor,
        success: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            distances = tf.reduce_sum(tf.square(images - clean), list(range(1, len(images.shape))))
            margin = margins(logits(images), labels)
            loss = distances + constants * tf.nn.relu(margin + confidence)
        found = tape.gradient(loss, images)
        gradient = finite(found)
        adversarial = margin <= -confidence
        nearer = adversarial & (distances < nearest)
        best = tf.raw_ops.Select(condition=nearer, x=images, y=best)
        nearest = tf.where(nearer, distances, nearest)
        time, total = tf.cast(step + 1, tf.float32), tf.cast(steps, tf.float32)
        mean = MEAN_DECAY * mean + (1.0 - MEAN_DECAY) * gradient
        square = SQUARE_DECAY * square + (1.0 - SQUARE_DECAY) * tf.square(gradient)
        rate = learning_rate * (1.0 + tf.cos(math.pi * (time - 1.0) / total)) / 2.0
        rate *= tf.sqrt(1.0 - SQUARE_DECAY**time) / (1.0 - MEAN_DECAY**time)
        moved = images - rate * mean / (tf.sqrt(square) + 1e-8) + nudge(images, found)
        images = tf.clip_by_value(moved, 0.0, 1.0)
        return step + 1, images, mean, square, best, nearest, success | (adversarial & (2 * step >= steps))

    zeros = tf.zeros_like(clean)
    unreached = tf.fill(tf.shape(labels), np.float32(np.inf))
    state = (tf.constant(0), start, zeros, zeros, clean, unreached, tf.zeros_like(labels, tf.bool))
    *_, best, nearest, success = tf.while_loop(lambda step, *_: step < steps, body, state)
    return best, tf.sqrt(nearest), success
