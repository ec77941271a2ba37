"""What Auto-PGD ascends (Croce and Hein 2020, sections 3 and 4): each a function of logits, one value an example."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tf_laq.attacks import cleverhans
from tf_laq.attacks.base import margins

# From the logits, the true classes and the target classes to the loss to ascend, one value an example.
Objective = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of the true classes, shape (n,); the targets are not used."""
    return cleverhans.cross_entropy(labels, logits)


def logits_ratio(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the difference of logits ratio, shape (n,); the targets are not used.

    -(z_y - max_{i != y} z_i) / (z_1st - z_3rd), the largest logit 1st (section 4). It is the same for logits
    times any factor.

    Example:
        >>> logits_ratio(tf.constant([[4.0, 1.0, 0.0]]), tf.constant([0]), tf.constant([0])).numpy().tolist()
        [-0.75]
    """
    largest = tf.math.top_k(logits, 3).values
    return -margins(logits, labels) / (largest[:, 0] - largest[:, 2] + 1e-12)


def targeted_logits_ratio(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the targeted difference of logits ratio, shape (n,).

    -(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2), the largest logit 1st (section 4, Eq. (7)).

    Example:
        >>> arguments = tf.constant([[4.0, 1.0, 1.0, -1.0]]), tf.constant([0]), tf.constant([2])
        >>> targeted_logits_ratio(*arguments).numpy().tolist()
        [-0.75]
    """
    largest = tf.math.top_k(logits, 4).values
    difference = tf.gather(logits, labels, batch_dims=1) - tf.gather(logits, targets, batch_dims=1)
    return -difference / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2.0 + 1e-12)
