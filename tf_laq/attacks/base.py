"""The one form of all attacks: frozen settings, and a call that turns images into adversarial images."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

from tf_laq._internal.validation import (
    called_on,
    check_logits,
    checked_images,
    checked_indices,
    checked_labels,
    real,
    whole,
)
from tf_laq.attacks.radius import check_ball
from tf_laq.errors import InputError

Logits = Callable[[tf.Tensor], tf.Tensor]
"""From float32 images to float32 logits (n, classes)."""

Images = NDArray[np.float32]
"""Images (n, height, width, channels), signals (n, length, channels) or features (n, features), in [0, 1]."""

Labels = NDArray[np.int64]
"""Class numbers, shape (n,)."""

Indices = NDArray[np.int64]

# A misclassification by less than this may flip with the rounding of another batch size.
DECISIVE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
    """A way to perturb images so that a classifier errs: settings that can be compared, printed and saved.

    Calling an attack makes one adversarial image per image. The outcome of an example depends on the model,
    the example, the settings, the seed and the example's index, not on its batch.
    """

    name: ClassVar[str]
    needs_gradient: ClassVar[bool] = False
    # The attack refuses models of fewer classes.
    fewest_classes: ClassVar[int] = 2

    def __call__(
        self, logits: Logits, images: ArrayLike, labels: ArrayLike, *, seed: int = 0, indices: ArrayLike | None = None
    ) -> Images:
        """Return adversarial images.

        Args:
            logits: Callable from float32 images (n, height, width, channels), or signals (n, length, channels) or
                features (n, features), to logits (n, classes).
            images: Floating-point images of that shape in [0, 1].
            labels: The true class numbers, shape (n,). The attack moves away from them, so an image that is
                misclassified already stays the attacker's success.
            seed: Seed of the random attacks, at least 0.
            indices: Number of each example in its data set, shape (n,), so that a part of the data set gets
                the random numbers it would get in the whole. 0 to n - 1 unless told.

        Returns:
            float32 images of the same shape in [0, 1].

        Raises:
            InputError: Images, labels, seed or indices are not as above, the outputs are not logits, or the
                attack needs a gradient and the model has none.
        """
        return self._perturb(*self._checked(logits, images, labels, seed, indices))

    @abc.abstractmethod
    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        """Perturb checked images."""

    def _checked(
        self,
        logits: Logits,
        images: ArrayLike,
        labels: ArrayLike,
        seed: int,
        indices: ArrayLike | None,
    ) -> tuple[Logits, Images, Labels, int, Indices]:
        """Return the arguments of a call in their exact types."""
        arguments = checked_arguments(logits, images, labels, seed, indices)
        if self.needs_gradient:
            _check_gradient(logits, arguments[1], self.name)
        return arguments

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings as JSON-ready values."""
        settings = dataclasses.asdict(self).items()
        return {"name": self.name, **{key: _plain(value) for key, value in settings}}


class MinimumNorm(NamedTuple):
    """The nearest adversarial images that an attack found, and how far they are.

    Attributes:
        images: float32 adversarial images; the clean image where none was found.
        distortions: float32 distances to the clean images, shape (n,): 0 where the clean image is
            misclassified already, infinite where no adversarial image was found.
    """

    images: Images
    distortions: NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinimumNormAttack(Attack):
    """An attack that looks for the nearest adversarial image instead of the worst one inside a ball.

    Its success rate says nothing without a budget, so a call returns the clean image wherever the distortion
    is above `epsilon`. With `epsilon=None` there is no budget.
    """

    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            real("epsilon", self.epsilon)

    def search(
        self, logits: Logits, images: ArrayLike, labels: ArrayLike, *, seed: int = 0, indices: ArrayLike | None = None
    ) -> MinimumNorm:
        """Return the nearest adversarial images, whatever the budget, with their distortions.

        Arguments and errors are those of a call.
        """
        return self._search(*self._checked(logits, images, labels, seed, indices))

    def within_budget(self, found: MinimumNorm, images: Images) -> Images:
        """Return the images found at a distortion of at most `epsilon`, and the clean image elsewhere."""
        budget = np.inf if self.epsilon is None else self.epsilon
        return np.where(by_example(found.distortions <= budget, images), found.images, images)

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        return self.within_budget(self._search(logits, images, labels, seed, indices), images)

    @abc.abstractmethod
    def _search(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> MinimumNorm:
        """Search on checked images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BallAttack(Attack):
    """An attack whose images stay within `epsilon` of the clean ones, in pixel units of [0, 1]."""

    epsilon: float
    norm: str = "linf"

    def __post_init__(self) -> None:
        check_ball(self.epsilon, self.norm)

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack in a ball of another radius; a given step size changes in proportion."""
        return dataclasses.replace(self, epsilon=epsilon)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartableAttack(BallAttack):
    """A ball attack that can also search from images that its caller knows, such as another model's examples."""

    def from_starts(self, logits: Logits, images: ArrayLike, labels: ArrayLike, starts: ArrayLike) -> Images:
        """Return adversarial images of a search that begins at `starts` instead of a random point.

        Args:
            logits: Callable from images to logits, as in a call.
            images: The clean images.
            labels: The true class numbers.
            starts: float32 images of the shape of `images`; those outside the ball are projected onto it.

        Returns:
            float32 images of the same shape in [0, 1] and in the ball, none with a larger margin than its start.

        Raises:
            InputError: An argument is not as above.
        """
        logits, images, labels, _, _ = self._checked(logits, images, labels, 0, None)
        starts = np.asarray(starts, np.float32)
        if starts.shape != images.shape or not np.isfinite(starts).all():
            expected = f"finite images of shape {images.shape}"
            raise InputError("starts", expected=expected, received=f"shape {starts.shape}")
        return self._perturb_from(logits, images, labels, starts)

    @abc.abstractmethod
    def _perturb_from(self, logits: Logits, images: Images, labels: Labels, starts: Images) -> Images:
        """Perturb checked images from checked starts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IterativeAttack(BallAttack):
    """A ball attack of several steps.

    `step_size` is the length of one step in the units of `epsilon`; None stands for 2.5 epsilon / steps,
    enough to cross the ball, and at most epsilon. `step` is the length in use.
    """

    needs_gradient: ClassVar[bool] = True
    steps: int = 40
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("steps", self.steps)
        if self.step_size is not None:
            real("step_size", self.step_size, maximum=self.epsilon)

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack in a ball of another radius; a given step size changes in proportion."""
        step_size = self.step_size
        if step_size is not None and self.epsilon:
            step_size = min(step_size * epsilon / self.epsilon, epsilon)
        return dataclasses.replace(self, epsilon=epsilon, step_size=step_size)

    @property
    def step(self) -> float:
        """Length of one step, in the units of epsilon."""
        if self.step_size is None:
            return min(2.5 * self.epsilon / self.steps, self.epsilon)
        return self.step_size


def checked_arguments(
    logits: Logits, images: ArrayLike, labels: ArrayLike, seed: int, indices: ArrayLike | None
) -> tuple[Logits, Images, Labels, int, Indices]:
    """Return the arguments of an attack in their exact types, or raise an `InputError` that names one."""
    if not callable(logits):
        raise InputError("logits", expected="a callable from images to logits", received=repr(logits))
    images = checked_images(images)
    labels = checked_labels(labels, len(images))
    whole("seed", seed, minimum=0)
    numbers = checked_indices(indices, len(images))
    return float32_logits(logits, images, labels), images, labels, int(seed), numbers


def float32_logits(logits: Logits, images: Images, labels: Labels, subject: str = "model") -> Logits:
    """Return a model's logits as float32, checked on these images: the same callable if they are float32 already.

    Raises:
        InputError: The outputs are not logits for these labels.
    """
    with called_on(images.shape[1:], subject):
        outputs = tf.convert_to_tensor(logits(tf.constant(images)))
    check_logits(np.asarray(outputs), labels, subject)
    return logits if outputs.dtype == tf.float32 else lambda images: tf.cast(logits(images), tf.float32)


def _check_gradient(logits: Logits, images: Images, attack: str) -> None:
    """Refuse a model that TensorFlow cannot differentiate: CleverHans would fail deep inside."""
    if not has_gradient(logits, tf.constant(images[:1])):
        raise InputError(
            "logits",
            expected=f"a model with a gradient, which the attack {attack} needs",
            received="no gradient from the logits to the images",
            remedy="Use the attack square, or give its rounding a straight-through gradient.",
        )


def has_gradient(logits: Logits, images: tf.Tensor) -> bool:
    """Return whether TensorFlow finds a gradient from the logits to the images.

    Example:
        >>> has_gradient(lambda x: tf.reduce_sum(x, [2, 3]), tf.zeros([1, 2, 1, 1]))
        True
        >>> has_gradient(lambda x: tf.cast(tf.reduce_sum(x, [2, 3]) > 0, tf.float32), tf.zeros([1, 2, 1, 1]))
        False
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = logits(images)
    return tape.gradient(outputs, images) is not None


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def by_example(values: Any, images: Any) -> Any:
    """Return one value for each example, (n,), in the shape (n, 1, ...) that broadcasts with images of any rank.

    Example:
        >>> by_example(np.ones(5), np.zeros((5, 8, 8, 1))).shape
        (5, 1, 1, 1)
    """
    return values[(slice(None), *[None] * (len(images.shape) - 1))]


def margins(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the logit of the true class minus the largest other one: negative where misclassified.

    Args:
        logits: float32 tensor (n, classes).
        labels: int64 tensor (n,).

    Returns:
        float32 tensor (n,).

    Example:
        >>> margins(tf.constant([[1.0, 3.0, 2.0]]), tf.constant([2], tf.int64)).numpy()
        array([-1.], dtype=float32)
    """
    true = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    lowest = tf.fill(tf.shape(logits), logits.dtype.min)
    return tf.reduce_max(tf.where(true, logits, lowest), 1) - tf.reduce_max(tf.where(true, lowest, logits), 1)
