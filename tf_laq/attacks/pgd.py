"""Projected gradient descent (Madry et al. 2018, "Towards Deep Learning Models Resistant to ...")."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import whole
from tf_laq.attacks.base import DECISIVE, Images, Indices, IterativeAttack, Labels, Logits, StartableAttack, margins
from tf_laq.attacks.cleverhans import gradient_step, gradient_step_and_margins, project
from tf_laq.attacks.leaving import Leaving, only, standing
from tf_laq.attacks.randomness import uniform_in_ball
from tf_laq.attacks.tracing import traced
from tf_laq.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(StartableAttack, IterativeAttack):
    """Ascend the cross-entropy from a random point, projecting onto the ball after every step.

    x_{t+1} = project(x_t + step * sign(g)), with g / ||g||_2 for "l2" (Madry et al. 2018, section 2.1). Of
    several restarts each example keeps the image with the lowest margin, so one success is enough.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        step_size: Length of a step in pixel units, at most epsilon; None for 2.5 epsilon / steps.
        random_start: Start uniformly in the ball, else at the clean image.
        restarts: Number of starts; more than one needs a random start.
        stop_when_broken: Leave an example as soon as it is broken: faster, and it breaks at least as many, but its
            images transfer less well to other models.

    Raises:
        InputError: A setting is out of range.

    Example:
        >>> PGD(epsilon=0.3, steps=100).step
        0.0075
    """

    name: ClassVar[str] = "pgd"
    random_start: bool = True
    restarts: int = 1
    stop_when_broken: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("restarts", self.restarts)
        for field in ("random_start", "stop_when_broken"):
            if not isinstance(getattr(self, field), bool):
                raise InputError(field, expected="True or False", received=repr(getattr(self, field)))
        if self.restarts > 1 and not self.random_start:
            raise InputError(
                "restarts",
                expected="1 without a random start",
                received=self.restarts,
                remedy="Every restart would be the same: set random_start=True.",
            )

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        starts = (self._start(images, seed, indices, restart) for restart in range(self.restarts))
        if self.restarts == 1:
            return self._ascend(logits, images, labels, next(starts))[0]
        return self._best(logits, images, labels, starts)

    def _perturb_from(self, logits: Logits, images: Images, labels: Labels, starts: Images) -> Images:
        projected = project(tf.constant(starts), tf.constant(images), self.epsilon, self.norm).numpy()
        margin = _margins(logits, tf.constant(projected), tf.constant(labels)).numpy()
        return self._best(logits, images, labels, [projected], (projected, margin))

    def _best(
        self,
        logits: Logits,
        images: Images,
        labels: Labels,
        starts: Iterable[Images],
        known: tuple[Images, npt.NDArray[np.float32]] | None = None,
    ) -> Images:
        """Ascend from every start, and return the image of the lowest margin: of those reached and the known one."""
        nearest, lowest = known or (images.copy(), np.full(len(images), np.inf, np.float32))
        for start in starts:
            rows = np.flatnonzero(self._standing(lowest))
            if not rows.size:
                break
            found, margin = self._ascend(logits, images[rows], labels[rows], start[rows])
            better = margin < lowest[rows]
            nearest[rows[better]], lowest[rows[better]] = found[better], margin[better]
        return nearest

    def _standing(self, margin: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        return np.asarray(margin > -DECISIVE) if self.stop_when_broken else np.ones(len(margin), np.bool_)

    def _start(self, images: Images, seed: int, indices: Indices, restart: int) -> Images:
        if not self.random_start:
            return images
        shape = images.shape[1:]
        return images + uniform_in_ball(shape, self.epsilon, self.norm, seed, indices, self.name, restart)

    def _ascend(
        self, logits: Logits, images: Images, labels: Labels, start: Images
    ) -> tuple[Images, npt.NDArray[np.float32]]:
        """Return the images at the end of one ascent, or where each was first broken, and their margins."""
        examples = tf.constant(images), tf.constant(labels)
        current = project(tf.constant(start), examples[0], self.epsilon, self.norm)
        ball = _Ball(self.norm, tf.constant(self.epsilon, tf.float32), tf.constant(self.step, tf.float32))
        step, steps = tf.constant(0), tf.constant(self.steps)
        if not self.stop_when_broken:
            current = _ascended(logits, ball, *examples, current, steps)
            return current.numpy(), _margins(logits, current, examples[1]).numpy()
        batch = Leaving(images.shape)
        while True:
            step, current, margin = _unbroken(logits, ball, *examples, current, step, steps, tf.constant(batch.fewest))
            ended = int(step) == self.steps
            margin = (_margins(logits, current, examples[1]) if ended else margin).numpy()
            kept = batch.leave(ended | ~self._standing(margin), current, margin)
            if kept is None or not kept.size:
                return batch.images, batch.margins
            examples, current = only(kept, (examples, current))


class _Ball(NamedTuple):
    norm: str
    epsilon: tf.Tensor
    step: tf.Tensor


@traced
def _ascended(
    logits: Logits, ball: _Ball, center: tf.Tensor, labels: tf.Tensor, current: tf.Tensor, steps: tf.Tensor
) -> tf.Tensor:
    """Return the images after all steps."""

    def body(step: tf.Tensor, current: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        moved = gradient_step(logits, current, labels, ball.step, ball.norm)
        return step + 1, project(moved, center, ball.epsilon, ball.norm)

    _, reached = tf.while_loop(lambda step, _: step < steps, body, (tf.constant(0), current))
    return reached


@traced
def _unbroken(
    logits: Logits,
    ball: _Ball,
    center: tf.Tensor,
    labels: tf.Tensor,
    current: tf.Tensor,
    step: tf.Tensor,
    steps: tf.Tensor,
    fewest: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the step, the images and their margins after all steps, or as soon as too few examples are left.

    An example that is broken stays where it is. The margins of others are those before the last step.
    """

    def body(step: tf.Tensor, current: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        moved, margin = gradient_step_and_margins(logits, current, labels, ball.step, ball.norm)
        moved = project(moved, center, ball.epsilon, ball.norm)
        return step + 1, tf.raw_ops.Select(condition=margin > -DECISIVE, x=moved, y=current), margin

    def going(step: tf.Tensor, _: tf.Tensor, margin: tf.Tensor) -> tf.Tensor:
        return (step < steps) & (standing(margin, tf.constant(-DECISIVE)) >= fewest)

    unknown = tf.fill(tf.shape(labels), np.float32(np.inf))
    found: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = tf.while_loop(going, body, (step, current, unknown))
    return found


@traced
def _margins(logits: Logits, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return margins(logits(images), labels)
