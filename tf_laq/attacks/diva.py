"""Differential evasive attack: it breaks a quantized model and leaves the model that it was made from right.

Hao et al. 2022, "A Tale of Two Models: Constructing Evasive Attacks on Edge Models".
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import checked_images, checked_labels, real
from tf_laq.attacks.base import Images, Indices, IterativeAttack, Labels, Logits, float32_logits, margins
from tf_laq.attacks.cleverhans import ascent, nudge, project
from tf_laq.attacks.tracing import traced
from tf_laq.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DIVA(IterativeAttack):
    """Search for images that a quantized model gets wrong while its float model still gets them right.

    No test of the float model shows such an image. x_{t+1} = project(x_t + step * sign(g)) from the clean image, with
    g / ||g||_2 for "l2", g the gradient of p_float - balance * p_quantized, p the softmax probability of the true
    class (after Hao et al. 2022, section 4). An example keeps the image of the quantized model's lowest margin among
    those that the float model gets right, the clean image included. `deceived` counts the successes.

    A call needs the float model too: `attack(quantized, images, labels, float_logits=float_model)`. Where entries of
    a quantized model's gradient are exactly zero, only the float model is followed: give
    `completed_gradient(quantized, epsilon)` in the place of the quantized model to fill them (without its float model,
    whose gradient would cancel that of the first term).

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        step_size: Length of a step in pixel units, at most epsilon; None for 2.5 epsilon / steps.
        balance: Weight of the quantized model's probability against the float model's, at least 0.

    Raises:
        InputError: A setting is out of range; in a call, the float model is missing or gives no such logits.

    Example:
        >>> float_model = lambda x: tf.reduce_sum(x - 0.25, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> quantized = lambda x: 2.0 * tf.reduce_sum(x - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> image = np.full((1, 1, 1, 1), 0.55)
        >>> found = DIVA(epsilon=0.2, steps=10)(quantized, image, [1], float_logits=float_model)
        >>> deceived(quantized, float_model, found, [1]).tolist()
        [True]
    """

    name: ClassVar[str] = "diva"
    balance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real("balance", self.balance)

    def __call__(
        self,
        logits: Logits,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        float_logits: Logits | None = None,
        seed: int = 0,
        indices: npt.ArrayLike | None = None,
    ) -> Images:
        """Return adversarial images; `float_logits` is the model that the attacked one was made from."""
        if float_logits is None:
            return super().__call__(logits, images, labels, seed=seed, indices=indices)
        logits, images, labels, _, _ = self._checked(logits, images, labels, seed, indices)
        float_logits = float32_logits(float_logits, images, labels, "float model")
        return self._deceive(logits, float_logits, images, labels)

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        raise InputError(
            "float_logits",
            expected=f"the logits of the float model, which the attack {self.name} needs",
            received="none",
            remedy="Call attack(quantized, images, labels, float_logits=float_model).",
        )

    def _deceive(self, logits: Logits, float_logits: Logits, images: Images, labels: Labels) -> Images:
        settings = (tf.constant(value, tf.float32) for value in (self.epsilon, self.step, self.balance))
        found = _search(
            (logits, float_logits),
            self.norm,
            tf.constant(images),
            tf.constant(labels),
            tf.constant(self.steps),
            *settings,
        )
        adversarial: Images = found.numpy()
        return adversarial


def deceived(
    logits: Logits, float_logits: Logits, images: npt.ArrayLike, labels: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Return where the quantized model is wrong and the float model right: the successes of `DIVA`.

    Args:
        logits: The quantized model, a callable from images to logits.
        float_logits: The model that it was made from.
        images: Floating-point images (n, ...) in [0, 1].
        labels: True class numbers, shape (n,).

    Returns:
        Boolean array (n,); its mean is the attack's success rate.

    Raises:
        InputError: Images or labels are not as above.

    Example:
        >>> deceived(lambda x: x[:, 0, 0], lambda x: -x[:, 0, 0], np.array([[[[0.0, 1.0]]]]), [0]).tolist()
        [True]
    """
    images = checked_images(images)
    labels = checked_labels(labels, len(images))
    quantized, original = (np.argmax(model(tf.constant(images)), axis=1) for model in (logits, float_logits))
    return np.asarray((quantized != labels) & (original == labels))


@traced
def _search(
    models: tuple[Logits, Logits],
    norm: str,
    clean: tf.Tensor,
    labels: tf.Tensor,
    steps: tf.Tensor,
    epsilon: tf.Tensor,
    step_size: tf.Tensor,
    balance: tf.Tensor,
) -> tf.Tensor:
    """Return the images of the quantized model's lowest margin, of those on the way that the float model gets right."""
    true = tf.one_hot(labels, tf.shape(models[0](clean))[1])

    def probability(outputs: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.softmax(outputs) * true, 1)

    def body(step: tf.Tensor, images: tf.Tensor, best: tf.Tensor, lowest: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            quantized, original = (model(images) for model in models)
            objective = probability(original) - balance * probability(quantized)
        best, lowest = kept(images, quantized, original, best, lowest)
        gradient = tape.gradient(objective, images)
        moved = images + ascent(gradient, step_size, norm) + nudge(images, gradient)
        return step + 1, project(moved, clean, epsilon, norm), best, lowest

    def kept(
        images: tf.Tensor, quantized: tf.Tensor, original: tf.Tensor, best: tf.Tensor, lowest: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        margin = margins(quantized, labels)
        lower = (margins(original, labels) > 0.0) & (margin < lowest)
        return tf.raw_ops.Select(condition=lower, x=images, y=best), tf.where(lower, margin, lowest)

    unknown = tf.fill(tf.shape(labels), np.float32(np.inf))
    state = (tf.constant(0), clean, clean, unknown)
    _, images, best, lowest = tf.while_loop(lambda step, *_: step < steps, body, state)
    return kept(images, models[0](images), models[1](images), best, lowest)[0]
