"""Projected gradient descent (Madry et al. 2018, "Towards Deep Learning Models Resistant to ...")."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_laq.attacks.base import Images, Indices, IterativeAttack, Labels, Logits, StartableAttack, margins
from tf_laq.attacks.checks import whole
from tf_laq.attacks.cleverhans import gradient_step, project
from tf_laq.attacks.randomness import uniform_in_ball
from tf_laq.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(StartableAttack, IterativeAttack):
    """Ascend the cross-entropy from a random point, projecting onto the ball after every step.

    x_{t+1} = project(x_t + step * sign(g)), with g / ||g||_2 for "l2" (Madry et al. 2018, section 2.1). Of
    several restarts each example keeps the image with the lowest margin, so one success is enough.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        step_size: Length of a step in pixel units, at most epsilon; None for 2.5 epsilon / steps.
        random_start: Start uniformly in the ball, else at the clean image.
        restarts: Number of starts; more than one needs a random start.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> PGD(epsilon=0.3, steps=100).step
        0.0075
    """

    name: ClassVar[str] = "pgd"
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("restarts", self.restarts)
        if not isinstance(self.random_start, bool):
            raise InputError("random_start", expected="True or False", received=repr(self.random_start))
        if self.restarts > 1 and not self.random_start:
            raise InputError(
                "restarts",
                expected="1 without a random start",
                received=self.restarts,
                remedy="Every restart would be the same: set random_start=True.",
            )

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        candidates = [
            self._ascend(logits, images, labels, self._start(images, seed, indices, restart))
            for restart in range(self.restarts)
        ]
        return candidates[0] if len(candidates) == 1 else _lowest_margin(logits, labels, candidates)

    def _perturb_from(self, logits: Logits, images: Images, labels: Labels, starts: Images) -> Images:
        projected = project(tf.constant(starts), tf.constant(images), self.epsilon, self.norm).numpy()
        return _lowest_margin(logits, labels, [projected, self._ascend(logits, images, labels, projected)])

    def _start(self, images: Images, seed: int, indices: Indices, restart: int) -> Images:
        if not self.random_start:
            return images
        shape = images.shape[1:]
        return images + uniform_in_ball(shape, self.epsilon, self.norm, seed, indices, self.name, restart)

    def _ascend(self, logits: Logits, images: Images, labels: Labels, start: Images) -> Images:
        center, true = tf.constant(images), tf.constant(labels)
        current = project(tf.constant(start), center, self.epsilon, self.norm)
        for _ in range(self.steps):
            moved = gradient_step(logits, current, true, self.step, self.norm)
            current = project(moved, center, self.epsilon, self.norm)
        adversarial: Images = current.numpy()
        return adversarial


def _lowest_margin(logits: Logits, labels: Labels, candidates: list[Images]) -> Images:
    """Return, of several images per example, the one that the model is least right about."""
    scores = np.stack([margins(logits(tf.constant(c)), tf.constant(labels)) for c in candidates])
    best: Images = np.stack(candidates)[scores.argmin(axis=0), np.arange(len(labels))]
    return best
