"""The gradient engine: the CleverHans functions that attacks and adversarial training share.

Attacks and training take their gradients here, through CleverHans 4.0 (Papernot et al. 2018, "Technical
Report on the CleverHans v2.1.0 Adversarial Examples Library"), so both mean the same step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta, compute_gradient, optimize_linear

from tf_laq.attacks.base import Images, IterativeAttack, Labels, Logits, margins

NORM_ORDERS: dict[str, float | int] = {"linf": np.inf, "l2": 2}


def gradient_step(
    logits: Logits, images: tf.Tensor, labels: tf.Tensor, step_size: float | tf.Tensor, norm: str
) -> tf.Tensor:
    """Move images up the cross-entropy of their labels by one step, neither projected nor clipped.

    x + step_size * sign(g) for "linf", x + step_size * g / ||g||_2 for "l2", with g the gradient of the
    cross-entropy at x (Goodfellow et al. 2015, section 4). Works eagerly and inside a tf.function.

    Args:
        logits: Callable from images to logits. CleverHans keeps one graph per callable: pass the same object
            again, and change a model by assigning its variables: the graph would not see a Python flag.
        images: float32 tensor (n, height, width, channels).
        labels: int64 tensor (n,) of true class numbers.
        step_size: Length of the step in pixel units, a float or a scalar tensor.
        norm: "linf" or "l2".

    Returns:
        float32 tensor of the shape of `images`.

    Example:
        >>> brightness = lambda x: tf.reduce_sum(x, [1, 2, 3])[:, None] * [[1.0, -1.0]]
        >>> gradient_step(brightness, tf.zeros([1, 1, 1, 1]), tf.constant([1]), 0.25, "linf").numpy().item()
        0.25
    """
    gradient = compute_gradient(logits, tf.nn.sparse_softmax_cross_entropy_with_logits, images, labels, targeted=False)
    return images + optimize_linear(gradient, step_size, NORM_ORDERS[norm])


def gradient_step_and_margins(
    logits: Logits, images: tf.Tensor, labels: tf.Tensor, step_size: float | tf.Tensor, norm: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what `gradient_step` does, and the margins at `images`, from one pass through the model.

    CleverHans' function keeps the logits to itself. Arguments are those of `gradient_step`.

    Example:
        >>> brightness = lambda x: tf.reduce_sum(x, [1, 2, 3])[:, None] * [[1.0, -1.0]]
        >>> moved, margin = gradient_step_and_margins(brightness, tf.ones([1, 1, 1, 1]), tf.constant([1]), 0.25, "linf")
        >>> moved.numpy().item(), margin.numpy().item()
        (1.25, -2.0)
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        outputs = logits(images)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
    step = optimize_linear(tape.gradient(loss, images), step_size, NORM_ORDERS[norm])
    return images + step, margins(outputs, labels)


def project(images: tf.Tensor, center: tf.Tensor, epsilon: float | tf.Tensor, norm: str) -> tf.Tensor:
    """Bring images into the box [0, 1] and the ball of radius `epsilon` around `center`.

    Args:
        images: float32 tensor (n, height, width, channels).
        center: The clean images, same shape, in [0, 1].
        epsilon: Radius in pixel units, a float or a scalar tensor.
        norm: "linf" or "l2".

    Returns:
        float32 tensor of the shape of `images`.

    Example:
        >>> project(tf.fill([1, 1, 1, 1], 0.75), tf.zeros([1, 1, 1, 1]), 0.5, "linf").numpy().item()
        0.5
    """
    perturbation = clip_eta(tf.clip_by_value(images, 0.0, 1.0) - center, NORM_ORDERS[norm], epsilon)
    return tf.clip_by_value(center + perturbation, 0.0, 1.0)


def arguments(attack: IterativeAttack, images: Images, labels: Labels) -> dict[str, Any]:
    """Return the keyword arguments that CleverHans' iterative attacks share.

    Its sanity checks fail on current NumPy versions, and without `y` it would attack the predicted labels,
    which turns some misclassified images into right ones.
    """
    return {
        "x": tf.constant(images),
        "y": tf.constant(labels),
        "eps": attack.epsilon,
        "eps_iter": attack.step,
        "nb_iter": attack.steps,
        "norm": NORM_ORDERS[attack.norm],
        "clip_min": 0.0,
        "clip_max": 1.0,
        "sanity_checks": False,
    }
