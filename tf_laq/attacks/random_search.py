"""Random search: what Square does in every norm, whatever it proposes (Andriushchenko et al. 2020, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_laq.attacks.base import DECISIVE, Logits, margins
from tf_laq.attacks.tracing import traced

Draws = tuple[tf.Tensor, ...]


class Standing(NamedTuple):
    """The examples that a query still has to break.

    Attributes:
        numbers: int64 places of the m examples in the batch, (m, 1).
        current: float32 best images so far, (m, height, width, channels).
        clean: float32 clean images, of the same shape.
    """

    numbers: tf.Tensor
    current: tf.Tensor
    clean: tf.Tensor


# From the number of the query, the examples and the random numbers to the images to try.
Proposal = Callable[[tf.Tensor, Standing, Draws], tf.Tensor]


class Window(NamedTuple):
    """A square part of each image: its corner, each number (m, 1, 1, 1), and the mask of its pixels."""

    top: tf.Tensor
    left: tf.Tensor
    inside: tf.Tensor


def window(place: tf.Tensor, side: tf.Tensor, images: tf.Tensor) -> Window:
    """Return the window of a side whose corner lies at `place` (m, 2), as shares of the free rows and columns."""
    rows = tf.range(images.shape[1])[None, :, None, None]
    columns = tf.range(images.shape[2])[None, None, :, None]
    extent = tf.constant([images.shape[1], images.shape[2]])
    corner = tf.cast(place * tf.cast(extent - side + 1, tf.float32), tf.int32)
    top, left = corner[:, 0, None, None, None], corner[:, 1, None, None, None]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return Window(top, left, inside)


@traced
def lowest_margin(
    logits: Logits,
    clean: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    queries: tf.Tensor,
    propose: Proposal,
    draws: Draws,
) -> tf.Tensor:
    """Return the images with the lowest margin found.

    Args:
        logits: Callable from images to logits.
        clean: float32 images (n, height, width, channels).
        labels: int64 true labels (n,).
        start: The first images tried, of the shape of `clean`.
        queries: int32 number of images tried after the start.
        propose: What is tried next.
        draws: Random numbers and constants for `propose`.
    """

    def unbroken(margin: tf.Tensor) -> tf.Tensor:
        return margin > -DECISIVE

    def body(query: tf.Tensor, best: tf.Tensor, margin: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Only examples that still stand are evaluated: the cost falls with the model's robustness.
        active = tf.where(unbroken(margin))
        current = tf.gather_nd(best, active)
        candidate = propose(query, Standing(active, current, tf.gather_nd(clean, active)), draws)
        # What changes nothing needs no evaluation. One example is always there: not every model takes none.
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
    return tf.while_loop(lambda query, _, margin: (query < queries) & tf.reduce_any(unbroken(margin)), body, state)[1]
