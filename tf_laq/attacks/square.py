"""Square attack.

Andriushchenko et al. 2020, "Square Attack: a Query-efficient Black-box Adversarial Attack via Random Search".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.validation import real, whole
from tf_laq.attacks.base import BallAttack, Images, Indices, Labels, Logits
from tf_laq.attacks.random_search import Draws, Patch, lowest_margin
from tf_laq.attacks.randomness import per_example
from tf_laq.attacks.square_l2 import moved_budget_of, patterns, tiling
from tf_laq.errors import InputError

# The share of changed pixels is halved after these shares of the queries (section 5 of the paper).
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)

Draw = Callable[[int, Callable[[np.random.Generator], npt.NDArray[np.floating]]], Images]
Numbers = npt.NDArray[Any] | np.float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square(BallAttack):
    """Random search with squares at the border of the ball: it reads the logits and needs no gradient.

    Each query changes a random square of the best image so far, and is kept where the margin (true logit minus the
    largest other) falls. An example stops once it is broken. Vanishing gradients, which quantized weights produce, do
    not blind it.

    - "linf" (Andriushchenko et al. 2020, Algorithm 2): starts from vertical stripes x +- epsilon, and sets a square
      to x +- epsilon, one sign per channel.
    - "l2" (Algorithm 3): starts from square tiles, each a fifth of the image high, and moves the change of one square
      to another one, where a pattern of two heaps is added and the change gets the length that uses up the ball.
      Squares have a side of at least 3 pixels, an odd one where the image has room for it, as in the authors' code.

    Args:
        epsilon: Radius of the ball in pixel units.
        norm: "linf" or "l2".
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
        sides = np.round(np.sqrt(shares * height * width)).astype(np.int32)
        if self.norm == "l2":
            # A smaller pattern would be no heap, and a heap has its middle on a pixel.
            sides = np.maximum(sides, 3) | 1
        clipped: npt.NDArray[np.int32] = np.clip(sides, 1, largest)
        return clipped

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        if images.ndim != 4:
            raise InputError(
                f"attack {self.name}",
                expected="images of shape (n, height, width, channels), which squares are drawn in",
                received=f"shape {images.shape}",
                remedy="Use apgd_ce and apgd_dlr, which take inputs of any shape.",
            )

        def draw(repeat: int, make: Callable[[np.random.Generator], npt.NDArray[np.floating]]) -> Images:
            return per_example(make, seed, indices, self.name, repeat=repeat)

        prepare, propose = {"linf": (self._in_linf, flipped_square), "l2": (self._in_l2, moved_budget_of)}[self.norm]
        start, draws = prepare(images, draw)
        adversarial: Images = lowest_margin(
            logits,
            tf.constant(images),
            tf.constant(labels),
            tf.clip_by_value(images + start, 0.0, 1.0),
            tf.constant(self.queries - 1),
            propose,
            tuple(tf.constant(values) for values in draws),
        ).numpy()
        return adversarial

    def _in_linf(self, images: Images, draw: Draw) -> tuple[Images, tuple[Numbers, ...]]:
        """Return the change at the start, vertical stripes, and the draws of `flipped_square`."""
        _, height, width, channels = images.shape
        stripes = draw(0, lambda random: random.choice([-1.0, 1.0], (1, width, channels)))
        places = draw(1, lambda random: random.random((self.queries - 1, 2)))
        signs = draw(2, lambda random: random.choice([-1.0, 1.0], (self.queries - 1, channels)))
        changes = (self.epsilon * signs).astype(np.float32)
        sides, pixels = self.sides(height, width), np.moveaxis(np.indices((height, width)), 0, -1)
        free = np.array([height, width]) - sides[:, None] + 1
        corners = (places * free.astype(np.float32)).astype(np.int32)
        return self.epsilon * stripes, (sides, corners, pixels.astype(np.int32), changes)

    def _in_l2(self, images: Images, draw: Draw) -> tuple[Images, tuple[Numbers, ...]]:
        """Return the change at the start, tiles of random signs, and the draws of `moved_budget`."""
        _, height, width, channels = images.shape
        unsigned, tiles = tiling(height, width)
        tile_signs = draw(0, lambda random: random.choice([-1.0, 1.0], (tiles.max() + 1, channels)))
        start = unsigned[:, :, None] * tile_signs[:, tiles] * np.float32(self.epsilon / np.sqrt(channels))
        places = draw(1, lambda random: random.random((self.queries - 1, 4)))
        signs = draw(2, lambda random: random.choice([-1.0, 1.0], (self.queries - 1, channels)))
        transposed = draw(3, lambda random: random.choice([0.0, 1.0], self.queries - 1))
        sides = self.sides(height, width)
        return start, (sides, *patterns(sides), places, signs, transposed, np.float32(self.epsilon))


def flipped_square(query: tf.Tensor, standing: tf.Tensor, best: tf.Tensor, clean: tf.Tensor, draws: Draws) -> Patch:
    """Return one square of each image, with its clean pixels plus or minus epsilon.

    Args:
        query: int32 number of the query.
        standing: int32 numbers of the examples, (m, 1).
        best: The best images so far, (n, height, width, channels); what is tried does not depend on them.
        clean: The clean images.
        draws: int32 side of the square of each query (queries,), its corner (n, queries, 2), and the places of all
            pixels (height, width, 2); the change of the clean image inside it (n, queries, channels).
    """
    sides, corners, pixels, changes = draws
    side = sides[query]
    # The window in the corner of the image, and where it goes.
    inside = pixels[None, :side, :side] + tf.gather_nd(corners[:, query], standing)[:, None, None, :]
    numbers = tf.broadcast_to(standing[:, None, None, :], [tf.size(standing), side, side, 1])
    patch = Patch(tf.concat([numbers, inside], -1), tf.gather_nd(changes[:, query], standing)[:, None, None, :])
    return patch._replace(values=tf.clip_by_value(patch.read(clean) + patch.values, 0.0, 1.0))
