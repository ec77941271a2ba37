"""What Square starts from and proposes in L2 (Andriushchenko et al. 2020, section 3.4 and Algorithm 3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq.attacks.base import Images
from tf_laq.attacks.random_search import Draws, Patch, Standing, Window, window

# The start has this many tiles in each direction of a square image.
TILES = 5


def pattern(side: int) -> Images:
    """Return the change that Square adds inside a window: two heaps side by side, one up and one down, of norm 1.

    A heap of h rows and k columns has the value sum_j 1/j^2, j = d + 1, ..., n + 1 with n = floor(h/2), at a pixel
    that is d away from the pixel (n, floor(k/2)), counted from 0, in the larger of both directions (equation 2). Both
    heaps have the same norm, as in the authors' code.

    Args:
        side: Side of the window in pixels, at least 1.

    Returns:
        float32 array (side, side).

    Example:
        >>> pattern(3).round(2)
        array([[ 0.14, -0.13, -0.13],
               [ 0.68, -0.13, -0.65],
               [ 0.14, -0.13, -0.13]], dtype=float32)
    """
    half = side // 2
    heaps = np.hstack([_heap(side, half), -_heap(side, side - half)])
    return (heaps / np.linalg.norm(heaps)).astype(np.float32)


def _heap(rows: int, columns: int) -> npt.NDArray[np.float64]:
    middle = rows // 2
    distances = np.maximum(
        np.abs(np.arange(rows) - middle)[:, None],
        np.abs(np.arange(columns) - columns // 2)[None, :],
    )
    from_outside = np.cumsum(1.0 / np.arange(middle + 1, 0, -1) ** 2)
    heap = from_outside[middle - distances]
    normed: npt.NDArray[np.float64] = heap / np.linalg.norm(heap)
    return normed


def patterns(sides: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], Images]:
    """Return the number of each query's pattern, and the patterns (patterns, side, side), filled with zeros.

    Example:
        >>> numbers, stack = patterns(np.array([5, 3, 3], np.int32))
        >>> numbers.tolist(), stack.shape
        ([1, 0, 0], (2, 5, 5))
    """
    different, numbers = np.unique(sides, return_inverse=True)
    largest = int(different.max(initial=1))
    filled = [np.pad(pattern(side), (0, largest - side)) for side in different.tolist()]
    return numbers.astype(np.int32), np.stack(filled or [pattern(largest)])


def tiling(height: int, width: int) -> tuple[Images, npt.NDArray[np.intp]]:
    """Return the start, of norm 1 and before its signs, and the number of the tile that each pixel is in.

    Tiles are patterns with a fifth of the smaller side of the image. As many as fit stand in its middle.

    Returns:
        float32 array (height, width), 0 outside the tiles; and integers of the same shape.

    Example:
        >>> start, tiles = tiling(28, 28)
        >>> int((start != 0).sum()), int(tiles.max())
        (625, 24)
    """
    side = max(min(height, width) // TILES, 1)
    rows, columns = height // side, width // side
    top, left = height % side // 2, width % side // 2
    start, tiles = np.zeros((height, width), np.float32), np.zeros((height, width), np.intp)
    middle = (slice(top, top + rows * side), slice(left, left + columns * side))
    start[middle] = np.tile(pattern(side), (rows, columns)) / np.sqrt(rows * columns)
    tiles[middle] = np.kron(np.arange(rows * columns).reshape(rows, columns), np.ones((side, side), np.intp))
    return start, tiles


def moved_budget_of(query: tf.Tensor, standing: tf.Tensor, best: tf.Tensor, clean: tf.Tensor, draws: Draws) -> Patch:
    """Return what `moved_budget` makes of the images of a batch that still stand: a patch as large as they are."""
    examples = Standing(standing, tf.gather_nd(best, standing), tf.gather_nd(clean, standing))
    return Patch(standing, moved_budget(query, examples, draws))


def moved_budget(query: tf.Tensor, standing: Standing, draws: Draws) -> tf.Tensor:
    """Return images in which one window gives up its change, and another one gets its norm and what else is left.

    With d = current - clean, windows A and B and their norms in each channel, a channel gets in A the change

        sqrt(||d_{A or B}||^2 + (epsilon^2 - ||d||^2) / channels) u / ||u||,   u = +-pattern + d_A / ||d_A||,

    and in B, outside of A, no change. What results is clipped to [0, 1].

    Args:
        query: int32 number of the query.
        standing: The examples.
        draws: Sides (queries,); the numbers of the patterns (queries,) and the patterns; places of A and B
            (n, queries, 4); signs (n, queries, channels); 1 where the pattern is transposed, else 0, (n, queries);
            epsilon.
    """
    sides, numbers, shapes, places, signs, transposed, epsilon = draws
    place = tf.gather_nd(places[:, query], standing.numbers)
    sign = tf.gather_nd(signs[:, query], standing.numbers)[:, None, None, :]
    turned = tf.gather_nd(transposed[:, query], standing.numbers)[:, None, None] > 0.0
    to = window(place[:, :2], sides[query], standing.clean)
    giving = to.inside | window(place[:, 2:], sides[query], standing.clean).inside
    change = standing.current - standing.clean
    own = tf.where(to.inside, change, 0.0)
    added = tf.where(to.inside, _placed(shapes[numbers[query]], to, turned, standing.clean), 0.0)
    direction = sign * added + tf.math.divide_no_nan(own, tf.sqrt(_squared(own, [1, 2])))
    channels = tf.cast(tf.shape(change)[3], tf.float32)
    # Below 0 where rounding has left the ball, which brings the change back into it.
    left = (epsilon**2 - _squared(change, [1, 2, 3])) / channels
    budget = tf.sqrt(tf.maximum(_squared(tf.where(giving, change, 0.0), [1, 2]) + left, 0.0))
    new = tf.math.divide_no_nan(direction, tf.sqrt(_squared(direction, [1, 2]))) * budget
    changed = tf.where(to.inside, new, tf.where(giving, 0.0, change))
    return tf.clip_by_value(standing.clean + changed, 0.0, 1.0)


def _placed(shape: tf.Tensor, to: Window, turned: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return a pattern at the place of each window (m, height, width, 1); what is outside of it means nothing."""
    last = tf.shape(shape)[0] - 1
    rows = tf.clip_by_value(tf.range(images.shape[1])[None, :, None] - to.top[..., 0], 0, last)
    columns = tf.clip_by_value(tf.range(images.shape[2])[None, None, :] - to.left[..., 0], 0, last)
    where = tf.stack([tf.where(turned, columns, rows), tf.where(turned, rows, columns)], -1)
    return tf.gather_nd(shape, where)[..., None]


def _squared(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values), axes, keepdims=True)
