"""Random search: what Square does in every norm, whatever it proposes (Andriushchenko et al. 2020, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_laq.attacks.base import DECISIVE, Logits, by_example, margins
from tf_laq.attacks.tracing import traced

Draws = tuple[tf.Tensor, ...]


class Standing(NamedTuple):
    """The examples that a query still has to break.

    Attributes:
        numbers: int32 places of the m examples in the batch, (m, 1).
        current: float32 best images so far, (m, height, width, channels).
        clean: float32 clean images, of the same shape.
    """

    numbers: tf.Tensor
    current: tf.Tensor
    clean: tf.Tensor


class Patch(NamedTuple):
    """What a query tries on m examples: new values for some places of each image.

    Attributes:
        places: Places in the batch of images, (m, ..., axes): the number of the example first, and as many axes of an
            image as a value does not span.
        values: float32 values, (m, ...).
    """

    places: tf.Tensor
    values: tf.Tensor

    def of(self, rows: tf.Tensor) -> Patch:
        """Return the patch of some of the examples."""
        return Patch(tf.gather(self.places, rows), tf.gather(self.values, rows))

    def alone(self) -> Patch:
        """Return the patch for a batch of its examples alone."""
        numbers = by_example(tf.range(tf.shape(self.places)[0]), self.places[..., :1])
        numbers = tf.broadcast_to(numbers, tf.shape(self.places[..., :1]))
        return self._replace(places=tf.concat([numbers, self.places[..., 1:]], -1))

    def read(self, images: tf.Tensor) -> tf.Tensor:
        """Return the values of the images (n, ...) in these places."""
        return tf.gather_nd(images, self.places)

    def written(self, images: tf.Tensor) -> tf.Tensor:
        """Return the images (n, ...) with the values in these places."""
        return tf.tensor_scatter_nd_update(images, self.places, self.values)


# From the number of the query, the numbers of the examples that still stand, the best images so far and the clean ones
# of the whole batch, and the random numbers to what is tried next.
Proposal = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, Draws], Patch]


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
        active = tf.cast(tf.where(unbroken(margin)), tf.int32)
        patch = propose(query, active, best, clean, draws)
        # What changes nothing needs no evaluation. One example is always there: not every model takes none.
        changed = patch.values != patch.read(best)
        differs = tf.reduce_any(changed, list(range(1, len(changed.shape)))) | (tf.range(tf.shape(active)[0]) == 0)
        rows = tf.where(differs)[:, 0]
        active, patch = tf.gather(active, rows), patch.of(rows)
        candidate = patch.alone().written(tf.gather_nd(best, active))
        candidate_margin = margins(logits(candidate), tf.gather_nd(labels, active))
        rows = tf.where(candidate_margin < tf.gather_nd(margin, active))[:, 0]
        active = tf.gather(active, rows)
        return (
            query + 1,
            patch.of(rows).written(best),
            tf.tensor_scatter_nd_update(margin, active, tf.gather(candidate_margin, rows)),
        )

    state = (tf.constant(0), start, margins(logits(start), labels))
    return tf.while_loop(lambda query, _, margin: (query < queries) & tf.reduce_any(unbroken(margin)), body, state)[1]
