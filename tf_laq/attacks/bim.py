"""Basic iterative method (Kurakin et al. 2017, "Adversarial Examples in the Physical World")."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tf_laq.attacks.base import Images, Indices, IterativeAttack, Labels, Logits
from tf_laq.attacks.cleverhans import gradient_step, project


@dataclasses.dataclass(frozen=True, kw_only=True)
class BIM(IterativeAttack):
    """Repeat small FGSM steps from the clean image, projecting onto the ball after each.

    x_{t+1} = project(x_t + step * sign(g)) with x_0 = x (Kurakin et al. 2017, section 2.2): PGD
    without its random start.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        step_size: Length of a step in pixel units, at most epsilon; None for 2.5 epsilon / steps.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> BIM(epsilon=0.25, steps=10, step_size=0.05).step
        0.05
    """

    name: ClassVar[str] = "bim"

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        current = clean = tf.constant(images)
        true = tf.constant(labels)
        for _ in range(self.steps):
            moved = gradient_step(logits, current, true, self.step, self.norm)
            current = project(moved, clean, self.epsilon, self.norm)
        adversarial: Images = current.numpy()
        return adversarial
