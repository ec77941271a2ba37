"""Auto-PGD: projected gradient ascent that chooses its own step sizes.

Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import whole
from tf_laq.attacks.base import DECISIVE, Images, Indices, Labels, Logits, StartableAttack, by_example, margins
from tf_laq.attacks.cleverhans import ascent, nudge, project
from tf_laq.attacks.input_gradient import value_and_gradient
from tf_laq.attacks.leaving import Leaving, only, standing
from tf_laq.attacks.objectives import Objective, cross_entropy, logits_ratio, targeted_logits_ratio
from tf_laq.attacks.randomness import uniform_in_ball
from tf_laq.attacks.tracing import traced
from tf_laq.errors import InputError

# Section 3 and Algorithm 1 of the paper.
MOMENTUM = 0.75
ENOUGH_RISES = 0.75
FIRST_PERIOD, SHORTENING, SHORTEST_PERIOD = 0.22, 0.03, 0.06


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps after which an example's step size may be halved.

    ceil(p_j * steps) with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06) (section 3.1).

    Example:
        >>> checkpoints(100)
        (22, 41, 57, 70, 80, 87, 93, 99)
    """
    shares = [0.0, FIRST_PERIOD]
    while shares[-1] < 1.0:
        period = max(shares[-1] - shares[-2] - SHORTENING, SHORTEST_PERIOD)
        shares.append(shares[-1] + period)
    # Rounded first: 0.41 * 100 is not 41 in binary.
    return tuple(dict.fromkeys(math.ceil(round(share * steps, 6)) for share in shares[1:-1]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD(StartableAttack):
    """What the three forms of Auto-PGD share: all but the loss.

    The first step is 2 epsilon long. At each checkpoint an example goes back to its best point at half the
    step size if its loss rose in fewer than three quarters of the steps since the last checkpoint, or if
    neither step size nor best loss have changed since (conditions 1 and 2). Returns the image of the lowest margin.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps.
        restarts: Number of random starts.
        stop_when_broken: Leave an example as soon as it is broken. False searches on for the lowest margin:
            slower, but its images transfer better to other models.

    Raises:
        InputError: A setting is out of range, or the model has too few classes for the loss.
    """

    needs_gradient: ClassVar[bool] = True
    objective: ClassVar[Objective]

    steps: int = 100
    restarts: int = 1
    stop_when_broken: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("steps", self.steps)
        whole("restarts", self.restarts)
        if not isinstance(self.stop_when_broken, bool):
            raise InputError("stop_when_broken", expected="True or False", received=repr(self.stop_when_broken))

    def _targets(self, logits: tf.Tensor, labels: Labels) -> Iterator[Labels]:
        """Yield the target classes of each run, from the logits of the clean images; not every loss uses them."""
        yield labels

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        ball = images.shape[1:], self.epsilon, self.norm
        drawn = (uniform_in_ball(*ball, seed, indices, "apgd", restart) for restart in range(self.restarts))
        return self._search(logits, images, labels, (images + noise for noise in drawn))

    def _perturb_from(self, logits: Logits, images: Images, labels: Labels, starts: Images) -> Images:
        return self._search(logits, images, labels, [starts])

    def _search(self, logits: Logits, images: Images, labels: Labels, starts: Iterable[Images]) -> Images:
        """Ascend from every start towards every target and keep the image of the lowest margin."""
        clean_logits = logits(tf.constant(images))
        if clean_logits.shape[1] < self.fewest_classes:
            expected = f"at least {self.fewest_classes} classes for the attack {self.name}"
            raise InputError("logits", expected=expected, received=f"{clean_logits.shape[1]} classes")
        nearest, lowest = images.copy(), margins(clean_logits, tf.constant(labels)).numpy()
        for start in starts:
            for targets in self._targets(clean_logits, labels):
                rows = np.flatnonzero(self._standing(lowest))
                if not rows.size:
                    return nearest
                found, margin = self._ascend(logits, images[rows], labels[rows], targets[rows], start[rows])
                better = margin < lowest[rows]
                nearest[rows[better]], lowest[rows[better]] = found[better], margin[better]
        return nearest

    def _standing(self, margin: Images) -> npt.NDArray[np.bool_]:
        return np.asarray(margin > (-DECISIVE if self.stop_when_broken else -np.inf))

    def _ascend(
        self, logits: Logits, images: Images, labels: Labels, targets: Labels, start: Images
    ) -> tuple[Images, Images]:
        """Return the images of the lowest margin on one ascent, and these margins."""
        shared = logits, type(self).objective, self.norm, tf.constant(self.epsilon, tf.float32)
        examples = _Examples.of(images, labels, targets, self.epsilon)
        state, batch = _begin(*shared, examples, tf.constant(start)), Leaving(images.shape)
        step, rises = tf.constant(0), tf.constant(self._enough_rises())
        broken = tf.constant(-DECISIVE if self.stop_when_broken else -np.inf, tf.float32)
        while True:
            step, state = _run(*shared, examples, state, step, rises, broken, tf.constant(batch.fewest))
            margin = state.lowest.numpy()
            kept = batch.leave((int(step) == self.steps) | ~self._standing(margin), state.nearest, margin)
            if kept is None or not kept.size:
                return batch.images, batch.margins
            examples, state = only(kept, (examples, state))

    def _enough_rises(self) -> Images:
        """Return how many rises an example needs at each step to keep its step size: 0 where none is counted."""
        checks = np.array([0, *checkpoints(self.steps)])
        enough = np.zeros(self.steps + 1, np.float32)
        enough[checks[1:]] = ENOUGH_RISES * np.diff(checks)
        return enough


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGDCrossEntropy(APGD):
    """Auto-PGD on the cross-entropy (Croce and Hein 2020, Algorithm 1).

    Arguments and errors are those of `APGD`.

    Example:
        >>> APGDCrossEntropy(epsilon=0.25).steps
        100
    """

    name: ClassVar[str] = "apgd_ce"
    objective: ClassVar[Objective] = staticmethod(cross_entropy)


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGDLogitsRatio(APGD):
    """Auto-PGD on the difference of logits ratio, which large logits do not blind (Croce and Hein 2020, section 4).

    Arguments and errors are those of `APGD`; it needs three classes.

    Example:
        >>> APGDLogitsRatio(epsilon=0.25, restarts=2).restarts
        2
    """

    name: ClassVar[str] = "apgd_dlr"
    fewest_classes: ClassVar[int] = 3
    objective: ClassVar[Objective] = staticmethod(logits_ratio)


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGDTargeted(APGD):
    """Auto-PGD on the targeted difference of logits ratio, one target after the other (Croce and Hein 2020, section 4).

    The targets of an example are the classes with the largest logits at the clean image, the true one left out.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
        steps: Number of steps for each target.
        restarts: Number of random starts for each target.
        stop_when_broken: Leave an example as soon as it is broken.
        targets: Number of target classes; all the others where there are fewer.

    Raises:
        InputError: A setting is out of range, or the model has fewer than four classes.

    Example:
        >>> APGDTargeted(epsilon=0.25).targets
        9
    """

    name: ClassVar[str] = "apgd_t"
    fewest_classes: ClassVar[int] = 4
    objective: ClassVar[Objective] = staticmethod(targeted_logits_ratio)
    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("targets", self.targets)

    def _targets(self, logits: tf.Tensor, labels: Labels) -> Iterator[Labels]:
        scores = np.array(logits)
        scores[np.arange(len(labels)), labels] = np.inf
        ranking = np.argsort(-scores, axis=1, kind="stable").astype(np.int64)
        yield from ranking[:, 1 : self.targets + 1].T


class _Examples(NamedTuple):
    """Clean images, the corners of their L-inf ball within [0, 1], and their true and target classes."""

    images: tf.Tensor
    lowest: tf.Tensor
    highest: tf.Tensor
    labels: tf.Tensor
    targets: tf.Tensor

    @classmethod
    def of(cls, images: Images, labels: Labels, targets: Labels, epsilon: float) -> _Examples:
        lowest, highest = np.maximum(images - epsilon, 0.0), np.minimum(images + epsilon, 1.0)
        return cls(*map(tf.constant, (images, lowest, highest, labels, targets)))

    def projected(self, points: tf.Tensor, epsilon: tf.Tensor, norm: str) -> tf.Tensor:
        """Return the points of the ball that are nearest to these; cheaper than `project` where it is a box."""
        if norm == "linf":
            return tf.clip_by_value(points, self.lowest, self.highest)
        return project(points, self.images, epsilon, norm)


class _State(NamedTuple):
    """Where the ascent of each example stands; the first axis of every tensor is the example."""

    current: tf.Tensor
    previous: tf.Tensor
    gradient: tf.Tensor
    loss: tf.Tensor
    # The point of the highest loss.
    best: tf.Tensor
    best_gradient: tf.Tensor
    best_loss: tf.Tensor
    # The point of the lowest margin: another one where the loss is not the margin.
    nearest: tf.Tensor
    lowest: tf.Tensor
    step_size: tf.Tensor
    # Since the last checkpoint.
    rises: tf.Tensor
    checked_loss: tf.Tensor
    halved: tf.Tensor


@traced
def _begin(
    logits: Logits, objective: Objective, norm: str, epsilon: tf.Tensor, examples: _Examples, start: tf.Tensor
) -> _State:
    current = examples.projected(start, epsilon, norm)
    gradient, loss, margin = _ascent(logits, objective, examples, current)
    return _State(
        current=current,
        previous=current,
        gradient=gradient,
        loss=loss,
        best=current,
        best_gradient=gradient,
        best_loss=loss,
        nearest=current,
        lowest=margin,
        step_size=tf.fill(tf.shape(loss), 2.0 * epsilon),
        rises=tf.zeros_like(loss),
        checked_loss=loss,
        halved=tf.ones_like(loss, tf.bool),
    )


@traced
def _run(
    logits: Logits,
    objective: Objective,
    norm: str,
    epsilon: tf.Tensor,
    examples: _Examples,
    state: _State,
    step: tf.Tensor,
    enough_rises: tf.Tensor,
    broken: tf.Tensor,
    fewest: tf.Tensor,
) -> tuple[tf.Tensor, _State]:
    """Return the step and the state at the end, or as soon as too few examples of the batch are left.

    Args:
        logits: Callable from images to logits.
        objective: The loss to ascend.
        norm: "linf" or "l2".
        epsilon: Radius of the ball.
        examples: The examples.
        state: Where they stand.
        step: int32 number of steps so far.
        enough_rises: Rises that keep the step size, for each step up to the last; 0 where there is no checkpoint.
        broken: An example whose margin is not above this keeps the image that it has.
        fewest: The ascent goes on while so many examples have a margin above that.
    """

    def going(step: tf.Tensor, state: _State) -> tf.Tensor:
        return (step < tf.size(enough_rises) - 1) & (standing(state.lowest, broken) >= fewest)

    def body(step: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        state = _step(logits, objective, norm, epsilon, examples, state, tf.where(step == 0, 1.0, MOMENTUM), broken)
        enough = enough_rises[step + 1]
        return step + 1, tf.cond(enough > 0.0, lambda: _adapted(state, enough), lambda: state)

    found: tuple[tf.Tensor, _State] = tf.while_loop(going, body, (step, state))
    return found


def _step(
    logits: Logits,
    objective: Objective,
    norm: str,
    epsilon: tf.Tensor,
    examples: _Examples,
    state: _State,
    momentum: tf.Tensor,
    broken: tf.Tensor,
) -> _State:
    """Return the state after x_{k+1} = P(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1})), z = P(x_k + step * g)."""
    moved = state.current + ascent(state.gradient, by_example(state.step_size, state.current), norm)
    moved += nudge(state.current, state.gradient)
    moved = examples.projected(moved, epsilon, norm)
    inertia = state.current - state.previous
    moved = state.current + momentum * (moved - state.current) + (1.0 - momentum) * inertia
    moved = examples.projected(moved, epsilon, norm)
    gradient, loss, margin = _ascent(logits, objective, examples, moved)
    higher, lower = loss > state.best_loss, (margin < state.lowest) & (state.lowest > broken)
    return state._replace(
        current=moved,
        previous=state.current,
        gradient=gradient,
        loss=loss,
        best=_rows(higher, moved, state.best),
        best_gradient=_rows(higher, gradient, state.best_gradient),
        best_loss=tf.where(higher, loss, state.best_loss),
        nearest=_rows(lower, moved, state.nearest),
        lowest=tf.where(lower, margin, state.lowest),
        rises=state.rises + tf.cast(loss > state.loss, tf.float32),
    )


def _adapted(state: _State, enough_rises: tf.Tensor) -> _State:
    """Return the state after a checkpoint: some examples back at their best point with half the step size."""
    stalled = tf.logical_and(tf.logical_not(state.halved), state.best_loss <= state.checked_loss)
    halve = tf.logical_or(state.rises < enough_rises, stalled)
    current = _rows(halve, state.best, state.current)
    return state._replace(
        current=current,
        previous=_rows(halve, current, state.previous),
        gradient=_rows(halve, state.best_gradient, state.gradient),
        loss=tf.where(halve, state.best_loss, state.loss),
        step_size=tf.where(halve, state.step_size / 2.0, state.step_size),
        rises=tf.zeros_like(state.rises),
        checked_loss=state.best_loss,
        halved=halve,
    )


def _ascent(
    logits: Logits, objective: Objective, examples: _Examples, images: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the gradient of the loss at the images, the loss, and the margin."""
    outputs, loss, gradient = value_and_gradient(
        logits, lambda outputs: objective(outputs, examples.labels, examples.targets), images
    )
    return gradient, loss, margins(outputs, examples.labels)


def _rows(condition: tf.Tensor, chosen: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Return the rows of one tensor where the condition (n,) is true: copied whole, which broadcasting is not."""
    return tf.raw_ops.Select(condition=condition, x=chosen, y=other)
