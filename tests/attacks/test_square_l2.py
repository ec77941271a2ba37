"""Square in L2, beside an independent version of its proposal, known answers and gradient attacks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import DDN, PGD, APGDCrossEntropy, Square
from tf_laq.attacks.random_search import Standing
from tf_laq.attacks.square_l2 import moved_budget, pattern, patterns, tiling


def expected_heap(rows, columns):
    """Return a heap by adding square after square, from its middle outwards."""
    heap, middle = np.zeros((rows, columns)), (rows // 2, columns // 2)
    for distance in range(rows // 2 + 1):
        top, left = (max(place - distance, 0) for place in middle)
        heap[top : middle[0] + distance + 1, left : middle[1] + distance + 1] += 1 / (distance + 1) ** 2
    return heap / np.linalg.norm(heap)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 7, 11])
def test_a_pattern_is_two_heaps_of_opposite_signs(side) -> None:
    found = pattern(side)
    left, right = expected_heap(side, side // 2), expected_heap(side, side - side // 2)
    np.testing.assert_allclose(found, np.hstack([left, -right]) / np.sqrt(2), atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_a_pattern_of_one_pixel_is_that_pixel() -> None:
    assert pattern(1).tolist() == [[-1.0]]


def expected_proposal(current, clean, epsilon, side, corners, signs, transposed):
    """Return Algorithm 3 for one image: loops over channels and pixels, in float64."""
    (to_row, to_column), (from_row, from_column) = corners
    change = current.astype(np.float64) - clean
    to = np.zeros(clean.shape[:2], bool)
    to[to_row : to_row + side, to_column : to_column + side] = True
    giving = to.copy()
    giving[from_row : from_row + side, from_column : from_column + side] = True
    unused = epsilon**2 - (change**2).sum()
    shape = pattern(side).T if transposed else pattern(side)
    new = change.copy()
    for channel in range(clean.shape[2]):
        own = change[to, channel]
        length = np.linalg.norm(own)
        direction = signs[channel] * shape.ravel() + (own / length if length else 0)
        budget = np.sqrt((change[giving, channel] ** 2).sum() + unused / clean.shape[2])
        new[giving, channel] = 0
        new[to, channel] = direction / np.linalg.norm(direction) * budget
    return new


@pytest.mark.parametrize("transposed", [0.0, 1.0])
@pytest.mark.parametrize("length", [0.0, 0.15, 0.2])
def test_a_proposal_moves_the_budget_as_an_independent_version_does(transposed, length) -> None:
    random = np.random.default_rng(3)
    count, side, epsilon = 6, 3, 0.2
    clean = random.uniform(0.4, 0.6, (count, 9, 7, 3)).astype(np.float32)
    change = random.normal(size=clean.shape)
    change *= length / np.linalg.norm(change.reshape(count, -1), axis=1)[:, None, None, None]
    current = (clean + change).astype(np.float32)
    places = random.random((count, 1, 4)).astype(np.float32)
    signs = random.choice([-1.0, 1.0], (count, 1, 3)).astype(np.float32)
    sides = np.array([side], np.int32)
    turned = np.full((count, 1), transposed, np.float32)
    draws = (sides, *patterns(sides), places, signs, turned, np.float32(epsilon))
    standing = Standing(tf.range(count)[:, None], tf.constant(current), tf.constant(clean))
    found = moved_budget(tf.constant(0), standing, tuple(tf.constant(values) for values in draws)).numpy()
    for number in range(count):
        corners = (places[number, 0].reshape(2, 2) * [9 - side + 1, 7 - side + 1]).astype(int)
        expected = expected_proposal(
            current[number], clean[number], epsilon, side, corners, signs[number, 0], transposed
        )
        np.testing.assert_allclose(found[number] - clean[number], expected, atol=1e-6)
        assert np.linalg.norm(expected) == pytest.approx(epsilon)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (8, 8), (28, 28), (12, 31)])
def test_the_tiles_of_the_start_have_norm_one_and_a_number_each(shape) -> None:
    start, tiles = tiling(*shape)
    assert np.linalg.norm(start) == pytest.approx(1, abs=1e-6)
    side = max(min(shape) // 5, 1)
    numbers, sizes = np.unique(tiles[start != 0], return_counts=True)
    assert numbers.tolist() == list(range((shape[0] // side) * (shape[1] // side)))
    assert set(sizes) == {side**2}


def test_windows_are_odd_and_no_smaller_than_three_pixels() -> None:
    sides = Square(epsilon=1.0, norm="l2", queries=5000).sides(32, 32)
    assert set(sides % 2) == {1}
    assert (sides.max(), sides.min()) == (29, 3)
    assert Square(epsilon=1.0, norm="l2", queries=50).sides(2, 2).max() == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (9, 7, 3)])
def test_the_whole_ball_is_used_where_the_range_leaves_room(shape) -> None:
    images = np.full((4, *shape), 0.5, np.float32)
    attack = Square(epsilon=0.3, norm="l2", queries=200)
    adversarial = attack(lambda x: tf.stack([tf.reduce_max(x, [1, 2, 3]) + 9, 0 * x[:, 0, 0, 0]], 1), images, [0] * 4)
    lengths = np.linalg.norm((adversarial - images).reshape(4, -1), axis=1)
    np.testing.assert_allclose(lengths, 0.3, atol=1e-6)


@pytest.fixture(scope="module")
def bump():
    """Return the smooth gradient of a linear margin, of norm 1."""
    squares = (np.arange(12) - 5.5) ** 2
    direction = np.exp(-(squares[:, None] + squares[None, :]) / 18)[..., None]
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def fall(bump, margin, **settings):
    """Return by how much Square lowers this margin of grey images of a linear model, of 1 per unit of length."""

    def logits(batch):
        found = tf.reduce_sum((batch - 0.5) * bump, [1, 2, 3]) + margin
        return tf.stack([found, tf.zeros_like(found)], 1)

    images = np.full((20, 12, 12, 1), 0.5, np.float32)
    attack = Square(norm="l2", **settings)
    return margin - logits(attack(logits, images, np.zeros(20, int)))[:, 0].numpy()


@pytest.mark.parametrize(("epsilon", "broken"), [(0.099, 0), (0.2, 20)])
def test_the_boundary_of_a_linear_model_is_crossed_if_it_is_in_the_ball(epsilon, broken, bump) -> None:
    assert (fall(bump, 0.1, epsilon=epsilon, queries=1000) > 0.1).sum() == broken


def test_it_comes_nearer_to_the_lowest_margin_of_a_linear_model_with_more_queries(bump) -> None:
    few, more, most = (fall(bump, 9.0, epsilon=0.5, queries=queries) / 0.5 for queries in (10, 100, 1000))
    assert few.mean() < more.mean() < most.mean()
    assert 0.6 <= most.min() <= most.max() <= 1.0


def test_more_queries_break_more(logits, images, labels, predictions) -> None:
    few, more = (
        predictions(Square(epsilon=0.6, norm="l2", queries=q)(logits, images[:200], labels[:200])) != labels[:200]
        for q in (20, 400)
    )
    assert more.sum() > few.sum() + 25


def test_a_model_without_gradients_is_broken(logits, images, labels) -> None:
    def masked(batch):
        return logits(tf.round(batch * 15.0) / 15.0 + 0.0 * batch)

    def accuracy(attack):
        adversarial = attack(masked, images[:100], labels[:100])
        return np.mean(np.argmax(masked(tf.constant(adversarial)), axis=1) == labels[:100])

    assert accuracy(PGD(epsilon=1.0, norm="l2")) >= 0.85
    assert accuracy(Square(epsilon=1.0, norm="l2", queries=400)) <= 0.35


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_it_comes_near_the_gradient_attacks(epsilon, logits, images, labels, predictions) -> None:
    def accuracy(attack):
        return (predictions(attack(logits, images[:64], labels[:64])) == labels[:64]).mean()

    found = accuracy(Square(epsilon=epsilon, norm="l2", queries=2000))
    for attack in (DDN(epsilon=epsilon), APGDCrossEntropy(epsilon=epsilon, norm="l2", steps=50)):
        assert -0.02 <= found - accuracy(attack) <= 0.2
