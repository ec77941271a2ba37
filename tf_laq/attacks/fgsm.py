"""Fast gradient sign method (Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples")."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method

from tf_laq.attacks.base import BallAttack, Images, Indices, Labels, Logits
from tf_laq.attacks.cleverhans import NORM_ORDERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(BallAttack):
    """Take one step of length epsilon up the cross-entropy: x + epsilon * sign(g), clipped to [0, 1].

    For "l2" the step is epsilon * g / ||g||_2 (Goodfellow et al. 2015, section 4; CleverHans).

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
        adversarial: Images = fast_gradient_method(
            logits,
            tf.constant(images),
            self.epsilon,
            NORM_ORDERS[self.norm],
            y=tf.constant(labels),
            clip_min=0.0,
            clip_max=1.0,
        ).numpy()
        return adversarial
