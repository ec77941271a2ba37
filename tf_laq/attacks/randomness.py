"""Random numbers that belong to an example, not to its batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tf_laq.attacks.base import Images, Indices


def per_example(
    draw: Callable[[np.random.Generator], npt.NDArray[np.floating]],
    seed: int,
    indices: Indices,
    purpose: str,
    repeat: int = 0,
) -> Images:
    """Stack what `draw` makes of each example's own generator.

    Args:
        draw: Callable from a NumPy generator to an array, of one shape for all examples.
        seed: Seed, at least 0.
        indices: Numbers of the examples, shape (n,), at least 0.
        purpose: What the numbers are for, such as the attack's name: other purposes get other numbers.
        repeat: Number of the draw for the same example and purpose, such as a restart.

    Returns:
        float32 array (n, ...). The generators are counter-based (Philox, Salmon et al. 2011), keyed by seed
        and index.

    Example:
        >>> whole = per_example(lambda random: random.random(2), 7, np.array([3, 4, 5]), "noise")
        >>> part = per_example(lambda random: random.random(2), 7, np.array([4]), "noise")
        >>> bool((whole[1] == part[0]).all())
        True
    """
    stream = [0, 0, zlib.crc32(purpose.encode()), repeat]
    generators = (np.random.Philox(key=[seed % 2**64, index], counter=stream) for index in indices.tolist())
    return np.stack([draw(np.random.Generator(generator)) for generator in generators]).astype(np.float32)


def uniform_in_ball(
    shape: tuple[int, ...],
    epsilon: float,
    norm: str,
    seed: int,
    indices: Indices,
    purpose: str,
    repeat: int = 0,
) -> Images:
    """Draw perturbations uniformly from the ball of radius `epsilon`.

    In L2 the direction is that of a normal vector and the length epsilon * u^(1/d), u uniform, d the number
    of values (Calafiore et al. 1998).

    Args:
        shape: Shape of one example.
        epsilon: Radius in pixel units.
        norm: "linf" or "l2".
        seed: Seed, at least 0.
        indices: Numbers of the examples, shape (n,).
        purpose: What the numbers are for: other purposes get other numbers.
        repeat: Number of the draw for the same example and purpose.

    Returns:
        float32 array (n, *shape).

    Example:
        >>> drawn = uniform_in_ball((2, 2, 1), 0.5, "l2", 0, np.array([0]), "noise")
        >>> bool(np.linalg.norm(drawn) <= 0.5)
        True
    """

    def draw(random: np.random.Generator) -> npt.NDArray[np.floating]:
        if norm == "linf":
            return random.uniform(-epsilon, epsilon, shape)
        direction = random.standard_normal(shape)
        length = epsilon * random.random() ** (1.0 / direction.size)
        scaled: npt.NDArray[np.floating] = direction * (length / np.linalg.norm(direction))
        return scaled

    return per_example(draw, seed, indices, purpose, repeat)
