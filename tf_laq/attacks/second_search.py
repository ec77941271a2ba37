"""The second search: Auto-PGD on what an attack of several steps left, along a gradient without zeros.

Quantization sets many weights to zero, and clipped activations switch off: entries of the input gradient become
exactly zero. The sign of zero is zero, so an attack that follows the gradient leaves those pixels as they are,
though changing them would break the model. Nearby, at the corners of the ball, other units are switched on, and the
model before quantization has other weights: their gradients stand in, as in the backward pass differentiable
approximation of Athalye, Carlini and Wagner 2018, "Obfuscated Gradients Give a False Sense of Security", section 4.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq.attacks.apgd import APGD, APGDCrossEntropy, APGDLogitsRatio, APGDTargeted
from tf_laq.attacks.base import Attack, IterativeAttack, Logits
from tf_laq.attacks.cleverhans import finite

# Four in ten of AutoAttack's: a hundred found one or two more in a hundred on networks with masked gradients.
STEPS = 40


def second_search(attack: Attack | None) -> APGD | None:
    """Return the attack that searches on what an attack of several steps left; None for other attacks.

    It is Auto-PGD in the attack's ball: steps of one length get lost in a completed gradient. Where entries of the
    model's gradient are exactly zero, it follows `completed_gradient`.

    Example:
        >>> second_search(APGDTargeted(epsilon=0.25, steps=20))
        APGDLogitsRatio(epsilon=0.25, norm='linf', steps=20, restarts=1, stop_when_broken=True)
    """
    if isinstance(attack, APGDTargeted):
        # One target after the other would cost as many times as much, and finds little more.
        return APGDLogitsRatio(epsilon=attack.epsilon, norm=attack.norm, steps=attack.steps)
    if isinstance(attack, APGD):
        return attack
    if isinstance(attack, IterativeAttack):
        return APGDCrossEntropy(epsilon=attack.epsilon, norm=attack.norm, steps=STEPS)
    return None


def completed_gradient(logits: Logits, radius: float, float_logits: Logits | None = None) -> Logits:
    """Return a callable with the outputs of a model, and with its gradient completed where that is exactly zero.

    A second search follows this gradient in the place of the model's own; any other attack can.

    In the place of a zero stands the sum of the model's gradients at x + radius * s and x - radius * s, clipped to
    [0, 1], with one fixed pattern s of random signs; where that is zero too, the float model's gradient at x.

    Args:
        logits: The attacked model.
        radius: Distance in pixel units of the two other points, as a rule the attack's epsilon.
        float_logits: The model that the attacked one was quantized from, or None.

    Returns:
        A callable from float32 images to logits, to be attacked instead of `logits`.

    Example:
        >>> def dark(images):  # sees nothing below a half
        ...     return tf.nn.relu(images - 0.5)
        >>> image = tf.constant([[0.25]])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(image)
        ...     outputs = completed_gradient(dark, 0.5)(image)
        >>> outputs.numpy().item(), tape.gradient(outputs, image).numpy().item()
        (0.0, 1.0)
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def completed(images: tf.Tensor) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            outputs = logits(images)

        def gradient(upstream: tf.Tensor, variables: list[tf.Variable] | None = None) -> Any:
            total = finite(tape.gradient(outputs, images, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO))
            shift = radius * _signs(tuple(images.shape[1:]))
            near = (tf.clip_by_value(images + sign * shift, 0.0, 1.0) for sign in (1.0, -1.0))
            total = _where_zero(total, tf.add_n([_gradient(logits, point, upstream) for point in near]))
            if float_logits is not None:
                total = _where_zero(total, _gradient(float_logits, images, upstream))
            return total if variables is None else (total, [None] * len(variables))

        return outputs, gradient

    def images_to_logits(images: tf.Tensor) -> tf.Tensor:
        return completed(images)

    return images_to_logits


def _gradient(logits: Logits, images: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        outputs = logits(images)
    return finite(tape.gradient(outputs, images, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO))


def _where_zero(gradient: tf.Tensor, substitute: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.equal(gradient, 0.0), substitute, gradient)


def _signs(shape: tuple[int, ...]) -> tf.Tensor:
    """Return the pattern: the same for every example and step, so that a result does not depend on the batch."""
    return tf.constant(np.random.Generator(np.random.Philox(0)).choice([-1.0, 1.0], shape), tf.float32)
