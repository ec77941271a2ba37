"""Momentum iterative method (Dong et al. 2018, "Boosting Adversarial Attacks with Momentum")."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tf_laq._internal.validation import real
from tf_laq.attacks.base import Images, Indices, IterativeAttack, Labels, Logits
from tf_laq.attacks.cleverhans import NORM_ORDERS, ascent, clip_eta, loss_gradient, nudge, scaled


@dataclasses.dataclass(frozen=True, kw_only=True)
class MIM(IterativeAttack):
    """Follow the accumulated gradient instead of the last one, which makes the examples transfer better.

    m_{t+1} = decay * m_t + g / mean|g|, x_{t+1} = project(x_t + step * sign(m_{t+1})) (Dong et al. 2018,
    Eq. (6) and (7), up to the scale of the mean).

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        step_size: Length of a step in pixel units, at most epsilon; None for 2.5 epsilon / steps.
        decay: Share of the momentum that a step keeps, at least 0.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> MIM(epsilon=0.25, steps=10).decay
        1.0
    """

    name: ClassVar[str] = "mim"
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real("decay", self.decay)

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        current = clean = tf.constant(images)
        true, momentum = tf.constant(labels), tf.zeros_like(clean)
        for _ in range(self.steps):
            gradient = loss_gradient(logits, current, true)
            direction = scaled(gradient)
            mean = tf.reduce_mean(tf.abs(direction), list(range(1, images.ndim)), keepdims=True)
            momentum = self.decay * momentum + tf.math.divide_no_nan(direction, mean)
            # What is left of the momentum would take a pixel without a gradient back to where it has none.
            known = tf.math.is_finite(gradient)
            step = tf.where(known, ascent(momentum, self.step, self.norm), nudge(current, gradient))
            change = clip_eta(current + step - clean, NORM_ORDERS[self.norm], self.epsilon)
            current = tf.clip_by_value(clean + change, 0.0, 1.0)
        adversarial: Images = current.numpy()
        return adversarial
