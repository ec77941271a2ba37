"""Fast gradient sign method (Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples")."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tf_laq.attacks.base import BallAttack, Images, Indices, Labels, Logits
from tf_laq.attacks.cleverhans import ascent, loss_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(BallAttack):
    """Take one step of length epsilon up the cross-entropy: x + epsilon * sign(g), clipped to [0, 1].

    For "l2" the step is epsilon * g / ||g||_2 (Goodfellow et al. 2015, section 4).

    Args:
        epsilon: Length of the step in pixel units.
        norm: "linf" or "l2".

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> FGSM(epsilon=0.25)
        FGSM(epsilon=0.25, norm='linf')
    """

    name: ClassVar[str] = "fgsm"
    needs_gradient: ClassVar[bool] = True

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        clean = tf.constant(images)
        step = ascent(loss_gradient(logits, clean, tf.constant(labels)), self.epsilon, self.norm)
        adversarial: Images = tf.clip_by_value(clean + step, 0.0, 1.0).numpy()
        return adversarial
