"""Square attack.

Andriushchenko et al. 2020, "Square Attack: a Query-efficient Black-box Adversarial Attack via Random Search".
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import one_of, real, whole
from tf_laq.attacks.base import DECISIVE, BallAttack, Images, Indices, Labels, Logits, margins
from tf_laq.attacks.randomness import per_example
from tf_laq.errors import InputError

# The share of changed pixels is halved after these shares of the queries (section 5 of the paper).
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square(BallAttack):
    """Random search with squares at the border of the L-inf ball: it reads the logits and needs no gradient.

    Starts from vertical stripes x +- epsilon. Each query sets a random square to x +- epsilon, one sign per
    channel, and keeps it where the margin (true logit minus the largest other) falls. An example stops once
    it is broken. Vanishing gradients, which quantized weights produce, do not blind it (Andriushchenko et
    al. 2020, Algorithm 1).

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf".
        queries: Number of evaluations of the model per example, the start included.
        initial_share: Share of the pixels that the first squares cover, from 0 to 1.

    Raises:
        InputError: A setting is out of range; in a call, the inputs are no images of rank 4.

    Example:
        >>> Square(epsilon=0.3, queries=2000).initial_share
        0.8
    """

    name: ClassVar[str] = "square"
    queries: int = 1000
    initial_share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("norm", self.norm, ("linf",))
        whole("queries", self.queries)
        real("initial_share", self.initial_share, maximum=1.0)

    def sides(self, height: int, width: int) -> npt.NDArray[np.int32]:
        """Return the side of the square of each query after the start, shape (queries - 1,).

        Example:
            >>> Square(epsilon=0.3, queries=2001).sides(8, 8)[[0, 20, 100, 1999]].tolist()
            [7, 4, 2, 1]
        """
        progress = np.arange(1, self.queries) / self.queries
        shares = self.initial_share / 2.0 ** np.searchsorted(HALVINGS, progress, side="right")
        largest = max(min(height, width) - 1, 1)
        sides: npt.NDArray[np.int32] = np.clip(np.round(np.sqrt(shares * height * width)), 1, largest).astype(np.int32)
        return sides

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        if images.ndim != 4:
            raise InputError(
                f"attack {self.name}",
                expected="images of shape (n, height, width, channels), which squares are drawn in",
                received=f"shape {images.shape}",
                remedy="Use apgd_ce and apgd_dlr, which take inputs of any shape.",
            )
        _, height, width, channels = images.shape
        stripes = per_example(lambda random: random.choice([-1.0, 1.0], (1, width, channels)), seed, indices, self.name)
        places = per_example(lambda random: random.random((self.queries - 1, 2)), seed, indices, self.name, repeat=1)
        signs = per_example(
            lambda random: random.choice([-1.0, 1.0], (self.queries - 1, channels)),
            seed,
            indices,
            self.name,
            repeat=2,
        )
        adversarial: Images = _search(
            logits,
            tf.constant(images),
            tf.constant(labels),
            tf.clip_by_value(images + self.epsilon * stripes, 0.0, 1.0),
            tf.constant(self.sides(height, width)),
            tf.constant(places),
            tf.constant(self.epsilon * signs, tf.float32),
        ).numpy()
        return adversarial


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _search(
    logits: Logits,
    clean: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    sides: tf.Tensor,
    places: tf.Tensor,
    changes: tf.Tensor,
) -> tf.Tensor:
    """Return the images with the lowest margin found.

    Args:
        logits: Callable from images to logits.
        clean: float32 images (n, height, width, channels).
        labels: int64 true labels (n,).
        start: The first images tried, of the shape of `clean`.
        sides: int32 side of the square of each query (queries,).
        places: float32 place of each square as shares of the free rows and columns (n, queries, 2).
        changes: float32 change of the clean image inside each square (n, queries, channels).
    """
    rows = tf.range(clean.shape[1])[None, :, None, None]
    columns = tf.range(clean.shape[2])[None, None, :, None]
    extent = tf.constant([clean.shape[1], clean.shape[2]])

    def unbroken(margin: tf.Tensor) -> tf.Tensor:
        return margin > -DECISIVE

    def body(query: tf.Tensor, best: tf.Tensor, margin: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Only examples that still stand are evaluated: the cost falls with the model's robustness.
        active = tf.where(unbroken(margin))
        side, place = sides[query], tf.gather_nd(places[:, query], active)
        corner = tf.cast(place * tf.cast(extent - side + 1, tf.float32), tf.int32)
        top, left = corner[:, 0, None, None, None], corner[:, 1, None, None, None]
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        change = tf.gather_nd(changes[:, query], active)[:, None, None, :]
        changed = tf.clip_by_value(tf.gather_nd(clean, active) + change, 0.0, 1.0)
        current = tf.gather_nd(best, active)
        candidate = tf.where(inside, changed, current)
        # A square that changes nothing needs no evaluation. One example is always there: not every model takes none.
        differs = (tf.reduce_max(tf.abs(candidate - current), [1, 2, 3]) > 0.0) | (tf.range(tf.shape(active)[0]) == 0)
        active, candidate = tf.boolean_mask(active, differs), tf.boolean_mask(candidate, differs)
        candidate_margin = margins(logits(candidate), tf.gather_nd(labels, active))
        better = candidate_margin < tf.gather_nd(margin, active)
        active = tf.boolean_mask(active, better)
        return (
            query + 1,
            tf.tensor_scatter_nd_update(best, active, tf.boolean_mask(candidate, better)),
            tf.tensor_scatter_nd_update(margin, active, tf.boolean_mask(candidate_margin, better)),
        )

    state = (tf.constant(0), start, margins(logits(start), labels))
    return tf.while_loop(
        lambda query, _, margin: (query < tf.size(sides)) & tf.reduce_any(unbroken(margin)), body, state
    )[1]
