"""Feedback learning: retraining on examples placed by measured distance to the decision boundary.

Source: Song, Wang, Li 2019, "Feedback Learning for Improving the Robustness of Neural Networks" (arXiv 1909.05443).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm.auto import tqdm

from research.validation import one_of, real, whole
from tf_laq import datasets
from tf_laq.adapters import keras_module, keras_version
from tf_laq.attacks import Images, Labels, Logits
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError

Distances = npt.NDArray[np.float32]

_BATCH = 512
# No class gets more than this many times the share that it would have with the widest margins.
_LARGEST_RATIO = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedbackSettings:
    """How far and in how many directions feedback learning looks, and how much it trains on what it sees.

    Attributes:
        max_radius: Largest distance to look at, L-inf in pixel units of [0, 1].
        rounds: Times that distances are measured and the network is retrained.
        images_per_round: Training images that are measured in a round.
        class_directions: Directions from each image towards that many other classes, drawn anew in each round.
        random_directions: Directions of random signs from each image.
        direction_steps: Gradient steps that make a direction towards a class; 1 for the sign of the gradient.
        reach: Where an example is placed, as a multiple of the measured distance: above 1, across the boundary.
        probes: Evenly spaced distances that are tried for a first crossing.
        bisections: Halvings of the interval in front of it.
        epochs: Passes through the examples of a round.
        batch_size: Images in an optimizer step, and in a measurement.
        learning_rate: Of Adam, in the first step; it falls to 0 along a cosine.
        precision: "float32" or "mixed_bfloat16", as in a `Recipe`.
        about: What the settings are for and what was measured.

    Raises:
        InputError: A setting is out of range; the message names it.
    """

    max_radius: float
    rounds: int
    images_per_round: int
    class_directions: int = 2
    random_directions: int = 1
    direction_steps: int = 1
    reach: float = 1.1
    probes: int = 4
    bisections: int = 4
    epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 1e-3
    precision: str = "float32"
    about: str = ""

    def __post_init__(self) -> None:
        for name in ("rounds", "images_per_round", "direction_steps", "probes", "epochs", "batch_size"):
            whole(name, getattr(self, name))
        for name in ("class_directions", "random_directions", "bisections"):
            whole(name, getattr(self, name), minimum=0)
        for name in ("max_radius", "reach", "learning_rate"):
            real(name, getattr(self, name), minimum=1e-9)
        if not self.class_directions + self.random_directions:
            raise InputError("directions", expected="at least one", received="none of either kind")
        one_of("precision", self.precision, ("float32", "mixed_bfloat16"))

    @classmethod
    def preset(cls, dataset: str) -> FeedbackSettings:
        """Return the settings for a data set, from `feedback.json`.

        Raises:
            InputError: There are none for it.

        Example:
            >>> FeedbackSettings.preset("mnist").max_radius
            0.3
        """
        known = _presets()
        one_of("dataset", dataset, known)
        return cls(**known[dataset])

    @property
    def directions(self) -> int:
        """Directions from each image."""
        return self.class_directions + self.random_directions


def feedback_learning(
    model: Any,
    dataset: str | Dataset,
    settings: FeedbackSettings | None = None,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """Retrain a network where it is weak: on examples at its decision boundary, more of them for weak classes.

    In each round, training images are drawn with the class shares p_c and the distance r(x, d) from each to the
    boundary is measured along several directions d: see `directions_to_classes` and `boundary_distances`. The network
    then trains on the images x and on

        x + min(reach * r(x, d), max_radius) * d,    clipped to [0, 1],

    all with the label of x. The margin of an image is its shortest distance, at most max_radius, and the next round
    has p_c proportional to 1 / (mean margin of class c).

    From the abstract of the paper: the model is analysed in the decision space by distance-based criteria; what that
    shows of how well it has learnt guides a retraining; robustness is wanted against evasion that is not adversarial,
    too; classes are unequal, and the proportions of their generated examples make up for it. Our reading, for want of
    more: the distances are in L-inf, by bisection along the signs of gradients towards other classes and along random
    signs; examples lie just across the boundary and keep their label; shares are inverse to the mean margin; measuring
    and retraining alternate in many short rounds.

    Args:
        model: A plainly trained Sequential or functional model to logits; it stays as it is.
        dataset: What `datasets.load` returned, or its name.
        settings: None for `FeedbackSettings.preset` of the data set.
        seed: Of the images, directions and orders drawn, at least 0. On one machine it fixes the weights.
        progress: Show a bar when the output is a terminal.

    Returns:
        The retrained model, not compiled.

    Raises:
        InputError: It is no Keras model, or an argument is wrong.
    """
    dataset = datasets.load(dataset) if isinstance(dataset, str) else dataset
    settings = FeedbackSettings.preset(dataset.name) if settings is None else settings
    whole("seed", seed, minimum=0)
    classes = len(dataset.classes)
    learnt, trained = _copy(model, "float32"), _copy(model, settings.precision)
    _compile(trained, settings)
    logits = images_to_logits(trained)
    shares = np.full(classes, 1.0 / classes)
    with tqdm(total=settings.rounds, desc=f"feedback {dataset.name}", disable=None if progress else True) as bar:
        for number in range(settings.rounds):
            random = np.random.default_rng([seed, number])
            drawn = _draw(dataset.train, shares, settings.images_per_round, random)
            examples, margins = _placed(logits, drawn, classes, settings, random)
            shares = _shares(margins, drawn.labels, classes, settings.max_radius)
            order = random.permutation(len(examples))
            trained.fit(
                examples.images[order],
                examples.labels[order],
                batch_size=settings.batch_size,
                epochs=settings.epochs,
                shuffle=False,
                verbose=0,
            )
            bar.set_postfix(margin=f"{margins.mean():.3f}")
            bar.update()
    learnt.set_weights(trained.get_weights())
    return learnt


def directions_to_classes(
    logits: Logits, images: npt.ArrayLike, labels: npt.ArrayLike, targets: npt.ArrayLike, *, radius: float, steps: int
) -> Images:
    """Return from each image a direction, in [-1, 1] per value, towards the region of another class.

    d_1 = sign(g(x)), and with more steps d_{k+1} = clip(d_k + 2 / steps * sign(g(x + radius * d_k)), -1, 1) from
    d_0 = 0, g the gradient of (logit of the target - logit of the label).

    Args:
        logits: Callable from float32 images (n, height, width, channels) to logits (n, classes).
        images: Float images of that shape in [0, 1].
        labels: Class numbers (n,).
        targets: The other classes' numbers (n,).
        radius: Distance in pixel units at which further gradients are taken.
        steps: Number of gradients.

    Returns:
        float32 array of the shape of `images`.
    """
    classes = (tf.constant(labels, tf.int64), tf.constant(targets, tf.int64))
    found: Images = _towards(
        logits, tf.constant(images, tf.float32), *classes, tf.constant(radius, tf.float32), tf.constant(steps)
    ).numpy()
    return found


def boundary_distances(
    logits: Logits,
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    directions: npt.ArrayLike,
    *,
    radius: float,
    probes: int = 4,
    bisections: int = 4,
) -> Distances:
    """Return how far each image can go along a direction, clipped to [0, 1], until it is misclassified.

    `probes` evenly spaced distances up to `radius` bracket the first crossing, then the bracket is halved: the result
    is at most radius / (probes * 2**bisections) above a crossing, and never below the first one.

    Args:
        logits: Callable from float32 images (n, height, width, channels) to logits (n, classes).
        images: Float images of that shape in [0, 1].
        labels: True class numbers (n,).
        directions: Array of the shape of `images`; with values in [-1, 1] the distance is in L-inf.
        radius: Largest distance, in pixel units.
        probes: Number of distances that are tried first.
        bisections: Number of halvings.

    Returns:
        float32 (n,): 0 where the image itself is misclassified, infinite where no probe is.

    Example:
        >>> bright = lambda x: tf.reduce_sum(x - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> image = np.full((1, 1, 1, 1), 0.7)
        >>> darker = -np.ones_like(image)
        >>> print(boundary_distances(bright, image, [1], darker, radius=0.32, bisections=6).round(2))
        [0.2]
    """
    lines = (tf.constant(images, tf.float32), tf.constant(labels, tf.int64), tf.constant(directions, tf.float32))
    constants = (tf.constant(radius, tf.float32), tf.constant(probes), tf.constant(bisections))
    found: Distances = _distances(logits, *lines, *constants).numpy()
    return found


def images_to_logits(model: Any) -> Logits:
    """Return a Keras model as a function from images to float32 logits in inference mode."""

    def logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    return logits


def _copy(model: Any, precision: str) -> Any:
    """Return a copy of a network that computes in a precision, but for its logits."""
    keras = keras_module(keras_version(model))

    def layer_of(layer: Any) -> Any:
        dtype = "float32" if layer is model.layers[-1] else precision
        return type(layer).from_config({**layer.get_config(), "dtype": dtype})

    copied = keras.models.clone_model(model, clone_function=layer_of)
    copied.set_weights(model.get_weights())
    return copied


def _compile(model: Any, settings: FeedbackSettings) -> None:
    keras = keras_module(keras_version(model))
    examples = settings.images_per_round * (1 + settings.directions)
    steps = settings.rounds * settings.epochs * math.ceil(examples / settings.batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **({"jit_compile": False} if keras.__name__ == "keras" else {}),
    )


def _draw(split: Split, shares: npt.NDArray[np.float64], count: int, random: np.random.Generator) -> Split:
    """Draw images with the given shares of the classes; a class without images has none."""
    present = np.bincount(split.labels, minlength=len(shares)) > 0
    chosen = random.choice(len(shares), count, p=shares * present / (shares * present).sum())
    places = np.empty(count, np.int64)
    for label in np.unique(chosen):
        of_class = np.flatnonzero(split.labels == label)
        wanted = np.flatnonzero(chosen == label)
        # Each image once before any image twice.
        places[wanted] = np.resize(random.permutation(of_class), len(wanted))
    return Split(split.images[places], split.labels[places])


def _placed(
    logits: Logits, drawn: Split, classes: int, settings: FeedbackSettings, random: np.random.Generator
) -> tuple[Split, Distances]:
    """Return the drawn images with the examples around them, and the margin of each image."""
    examples = [drawn.images]
    margins = np.full(len(drawn), settings.max_radius, np.float32)
    measure = functools.partial(
        _distances,
        logits,
        radius=tf.constant(settings.max_radius, tf.float32),
        probes=tf.constant(settings.probes),
        bisections=tf.constant(settings.bisections),
    )
    for directions in _directions(logits, drawn, classes, settings, random):
        distances = _in_batches(measure, np.asarray(drawn.images), drawn.labels, directions)
        margins = np.minimum(margins, distances)
        lengths = np.minimum(settings.reach * distances, settings.max_radius)
        examples.append(np.clip(drawn.images + lengths[:, None, None, None] * directions, 0.0, 1.0))
    return Split(np.concatenate(examples), np.tile(drawn.labels, len(examples))), margins


def _directions(
    logits: Logits, drawn: Split, classes: int, settings: FeedbackSettings, random: np.random.Generator
) -> Iterator[Images]:
    """Yield the directions of a round, one for each drawn image at a time."""
    ascend = functools.partial(
        _towards,
        logits,
        radius=tf.constant(settings.max_radius, tf.float32),
        steps=tf.constant(settings.direction_steps),
    )
    others = np.argsort(random.random((len(drawn), classes - 1)), axis=1) + 1
    for number in range(settings.class_directions):
        targets = (drawn.labels + others[:, number % (classes - 1)]) % classes
        yield _in_batches(ascend, np.asarray(drawn.images), drawn.labels, targets)
    for _ in range(settings.random_directions):
        yield random.choice(np.array([-1.0, 1.0], np.float32), drawn.images.shape)


def _in_batches(function: Callable[..., tf.Tensor], *arrays: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    starts = range(0, len(arrays[0]), _BATCH)
    parts = [function(*(tf.constant(array[start : start + _BATCH]) for array in arrays)) for start in starts]
    return np.concatenate([part.numpy() for part in parts])


def _shares(margins: Distances, labels: Labels, classes: int, max_radius: float) -> npt.NDArray[np.float64]:
    """Return shares of the classes that are inverse to their mean margins; a class not seen counts as wide."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, margins, minlength=classes)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), max_radius)
    inverse: npt.NDArray[np.float64] = 1.0 / np.maximum(means, max_radius / _LARGEST_RATIO)
    inverse /= inverse.sum()
    return inverse


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _towards(
    logits: Logits, images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor, radius: tf.Tensor, steps: tf.Tensor
) -> tf.Tensor:
    directions = tf.zeros_like(images)
    length = tf.minimum(2.0 / tf.cast(steps, tf.float32), 1.0)

    def ascend(step: tf.Tensor, directions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        points = tf.clip_by_value(images + radius * directions, 0.0, 1.0)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            outputs = logits(points)
            gap = tf.gather(outputs, targets, batch_dims=1) - tf.gather(outputs, labels, batch_dims=1)
        slope = tf.sign(tape.gradient(gap, points))
        return step + 1, tf.clip_by_value(directions + length * slope, -1.0, 1.0)

    return tf.while_loop(lambda step, _: step < steps, ascend, (tf.constant(0), directions))[1]


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _distances(
    logits: Logits,
    images: tf.Tensor,
    labels: tf.Tensor,
    directions: tf.Tensor,
    radius: tf.Tensor,
    probes: tf.Tensor,
    bisections: tf.Tensor,
) -> tf.Tensor:
    def wrong(distances: tf.Tensor) -> tf.Tensor:
        points = tf.clip_by_value(images + distances[:, None, None, None] * directions, 0.0, 1.0)
        return tf.not_equal(tf.argmax(logits(points), axis=1), labels)

    inside = tf.zeros(tf.shape(labels))
    outside = tf.where(wrong(inside), 0.0, np.float32(np.inf))

    def look(number: tf.Tensor, inside: tf.Tensor, outside: tf.Tensor) -> tuple[tf.Tensor, ...]:
        probe = tf.fill(tf.shape(labels), radius * tf.cast(number, tf.float32) / tf.cast(probes, tf.float32))
        open_ended, crossed = tf.math.is_inf(outside), wrong(probe)
        inside = tf.where(open_ended & ~crossed, probe, inside)
        return number + 1, inside, tf.where(open_ended & crossed, probe, outside)

    def bisect(number: tf.Tensor, inside: tf.Tensor, outside: tf.Tensor) -> tuple[tf.Tensor, ...]:
        middle = tf.where(tf.math.is_inf(outside), inside, (inside + outside) / 2.0)
        crossed = wrong(middle)
        return number + 1, tf.where(crossed, inside, middle), tf.where(crossed, middle, outside)

    _, inside, outside = tf.while_loop(lambda n, *_: n <= probes, look, (tf.constant(1), inside, outside))
    return tf.while_loop(lambda n, *_: n < bisections, bisect, (tf.constant(0), inside, outside))[2]


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    text = Path(__file__).with_name("feedback.json").read_text(encoding="utf-8")
    content: dict[str, dict[str, Any]] = json.loads(text)
    return content
