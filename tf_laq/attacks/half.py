"""Images of which one half are adversarial examples: what corrections and policies look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import called_on, checked_images, whole
from tf_laq.attacks.base import Attack, Images, Logits
from tf_laq.errors import InputError


@typed
def half_adversarial(
    logits: Logits, images: npt.ArrayLike, attack: Attack, *, seed: int = 0, batch_size: int = 128
) -> Images:
    """Return images, the second half of them as adversarial examples.

    The examples lead away from what the model takes the images for, so that no labels are needed.

    Args:
        logits: Callable from float32 images to logits (n, classes).
        images: Floating-point images (n, height, width, channels) in [0, 1], at least two.
        attack: Makes the examples.
        seed: Seed of the attack.
        batch_size: Images attacked at a time.

    Returns:
        float32 images of the same shape.

    Raises:
        InputError: An argument is not as above.

    Example:
        >>> from tf_laq.attacks import FGSM
        >>> brightness = lambda x: tf.reduce_sum(x - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> half_adversarial(brightness, np.full((2, 1, 1, 1), 0.75), FGSM(epsilon=0.25)).ravel().tolist()
        [0.75, 0.5]
    """
    images = checked_images(images)
    whole("batch_size", batch_size)
    if len(images) < 2:
        raise InputError("images", expected="at least two, the second half of which is attacked", received="one")
    clean, attacked = np.split(images, [len(images) // 2])
    batches = np.array_split(np.arange(len(attacked)), -(-len(attacked) // batch_size))
    with called_on(images.shape[1:]):
        predicted = [np.argmax(np.asarray(logits(tf.constant(attacked[rows]))), axis=1) for rows in batches]
    found = [
        attack(logits, attacked[rows], classes, seed=seed, indices=rows)
        for rows, classes in zip(batches, predicted, strict=True)
    ]
    return np.concatenate([clean, *found])
