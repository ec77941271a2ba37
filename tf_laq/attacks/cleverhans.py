"""The gradient engine: the loss, the gradient and the step that attacks and adversarial training share.

Attacks and training take their gradients here and their steps from CleverHans 4.0 (Papernot et al. 2018, "Technical
Report on the CleverHans v2.1.0 Adversarial Examples Library"), so all mean the same step. Two things that CleverHans
leaves to the model are settled before: the scale of the gradient, and entries of it that are no numbers.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tf_laq._internal.optional import of_extra
from tf_laq.attacks.base import Logits, margins

with of_extra("train"):
    from cleverhans.tf2.utils import clip_eta as clip_eta, compute_gradient, optimize_linear

NORM_ORDERS: dict[str, float | int] = {"linf": np.inf, "l2": 2}

# The margin from which 1 - p is 0 in float32 (24 bits): the gradient of the cross-entropy has lost the true class.
LOST = 24 * math.log(2)
# The margin above which logits are scaled down, and to which. Up to there attacks follow the other classes alone, as
# they do in other packages; of two classes, the other one may have nothing to follow.
LARGE, SCALED = 2 * LOST, LOST / 2
# How far a pixel is moved from a place where the model has no gradient: the smallest normal number of float16.
NUDGE = 2.0**-14
# The bits of a float32 that hold its exponent.
EXPONENT = 0x7F800000


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy -log(p) of the true classes, with a gradient for logits of any scale.

    Where the margin is above 48 log 2, or 24 log 2 for two classes, the gradient is that of the logits scaled down to a
    margin of 12 log 2, since nothing is left of their own in float32; the value there still falls with the margin.

    Args:
        labels: int64 tensor (n,) of true class numbers.
        logits: float32 tensor (n, classes).

    Returns:
        float32 tensor (n,).

    Example:
        >>> logits = tf.constant([[200.0, 0.0]])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(logits)
        ...     loss = cross_entropy(tf.constant([0]), logits)
        >>> tf.sign(tape.gradient(loss, logits)).numpy().tolist()
        [[-1.0, 1.0]]
    """
    margin = tf.stop_gradient(margins(logits, labels))
    large = margin > tf.where(tf.shape(logits)[1] > 2, LARGE, LOST)
    factor = tf.where(large, SCALED / margin, 1.0)
    excess = tf.where(large, margin - SCALED, 0.0)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits * factor[:, None]) - excess


def loss_gradient(logits: Logits, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the gradient of `cross_entropy` at images. Works eagerly and inside a tf.function.

    Args:
        logits: Callable from images to logits. CleverHans keeps one graph per callable: pass the same object
            again, and change a model by assigning its variables: the graph would not see a Python flag.
        images: float32 tensor (n, ...).
        labels: int64 tensor (n,) of true class numbers.

    Returns:
        float32 tensor of the shape of `images`; entries may be infinite or NaN.
    """
    return compute_gradient(logits, cross_entropy, images, labels, targeted=False)


def finite(gradient: tf.Tensor) -> tf.Tensor:
    """Return a gradient with 0 in the place of infinite entries and NaN.

    Example:
        >>> finite(tf.constant([2.0, np.nan, -np.inf])).numpy().tolist()
        [2.0, 0.0, 0.0]
    """
    return tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))


def scaled(gradient: tf.Tensor) -> tf.Tensor:
    """Return each example's finite gradient divided by a power of two, so that its largest entry is from 1 to 2.

    CleverHans does not bring gradients below 1e-6 to the length of the step, and squares of entries underflow. A power
    of two changes no other bit than those of the exponents.

    Example:
        >>> scaled(tf.constant([[3e-30, np.nan], [-20.0, 4.0]])).numpy().round(3)
        array([[ 1.901,  0.   ],
               [-1.25 ,  0.25 ]], dtype=float32)
    """
    gradient = finite(gradient)
    largest = tf.reduce_max(tf.abs(gradient), list(range(1, len(gradient.shape))), keepdims=True)
    power = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(largest, tf.int32), EXPONENT), tf.float32)
    return tf.math.divide_no_nan(gradient, power)


def nudge(images: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return a change of 2^-14 towards grey where a gradient is not finite, and 0 elsewhere.

    A square root has no finite gradient at black, but one beside it: the next step finds it.

    Example:
        >>> nudge(tf.constant([0.0, 1.0, 1.0]), tf.constant([np.inf, np.nan, 3.0])).numpy().tolist()
        [6.103515625e-05, -6.103515625e-05, 0.0]
    """
    return tf.where(tf.math.is_finite(gradient), 0.0, tf.where(images < 0.5, NUDGE, -NUDGE))


def ascent(gradient: tf.Tensor, step_size: float | tf.Tensor, norm: str) -> tf.Tensor:
    """Return the step of this length that a gradient rises the most by: its sign for "linf", its direction for "l2".

    Args:
        gradient: float32 tensor (n, ...); entries that are not finite count as 0.
        step_size: Length of the step in pixel units: a float, or a tensor that broadcasts with the gradient.
        norm: "linf" or "l2".

    Example:
        >>> ascent(tf.constant([[3e-20, -4e-20]]), 0.5, "l2").numpy().round(3)
        array([[ 0.3, -0.4]], dtype=float32)
    """
    return optimize_linear(scaled(gradient), step_size, NORM_ORDERS[norm])


def gradient_step(
    logits: Logits, images: tf.Tensor, labels: tf.Tensor, step_size: float | tf.Tensor, norm: str
) -> tf.Tensor:
    """Move images up the cross-entropy of their labels by one step, neither projected nor clipped.

    x + step_size * sign(g) for "linf", x + step_size * g / ||g||_2 for "l2", with g the gradient of the
    cross-entropy at x (Goodfellow et al. 2015, section 4), whatever its scale. Entries of g that are not finite count
    as 0, and their pixels move by `nudge`.

    Args:
        logits: Callable from images to logits, one object for each model (see `loss_gradient`).
        images: float32 tensor (n, ...).
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
    gradient = loss_gradient(logits, images, labels)
    return images + ascent(gradient, step_size, norm) + nudge(images, gradient)


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
        loss = cross_entropy(labels, outputs)
    gradient = tape.gradient(loss, images)
    moved = images + ascent(gradient, step_size, norm) + nudge(images, gradient)
    return moved, margins(outputs, labels)


def project(images: tf.Tensor, center: tf.Tensor, epsilon: float | tf.Tensor, norm: str) -> tf.Tensor:
    """Bring images into the box [0, 1] and the ball of radius `epsilon` around `center`.

    Args:
        images: float32 tensor (n, ...).
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
