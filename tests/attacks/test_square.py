from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import PGD, Square


@pytest.fixture(scope="module")
def masked_logits(logits):
    """Return the network behind a rounding to 16 grey values, whose gradient is 0."""
    return lambda images: logits(tf.round(images * 15.0) / 15.0 + 0.0 * images)


def test_it_breaks_a_model_without_gradients_that_pgd_does_not(masked_logits, images, labels) -> None:
    def accuracy(attack):
        adversarial = attack(masked_logits, images[:100], labels[:100])
        return np.mean(np.argmax(masked_logits(tf.constant(adversarial)), axis=1) == labels[:100])

    assert accuracy(PGD(epsilon=0.15)) >= 0.85
    assert accuracy(Square(epsilon=0.15, queries=400)) <= 0.35


def test_more_queries_break_every_example_that_fewer_do(logits, images, labels, predictions) -> None:
    few, more = (predictions(Square(epsilon=0.1, queries=q)(logits, images, labels)) != labels for q in (20, 200))
    assert more.sum() > few.sum() + 25


def test_pixels_change_by_epsilon_or_to_the_limit_of_the_range(logits, images, labels) -> None:
    adversarial = Square(epsilon=0.1, queries=50)(logits, images, labels)
    worst = np.stack([np.clip(images - 0.1, 0, 1), np.clip(images + 0.1, 0, 1)])
    assert np.abs(worst - adversarial).min(axis=0).max() <= 1e-6


def test_one_query_is_vertical_stripes(linear_logits) -> None:
    images = np.full((3, 4, 4, 1), 0.5, np.float32)
    adversarial = Square(epsilon=0.25, queries=1)(linear_logits, images, np.zeros(3, int))
    assert set(np.unique(adversarial)) == {np.float32(0.25), np.float32(0.75)}
    assert (adversarial == adversarial[:, :1]).all()


def test_squares_shrink_by_the_published_schedule() -> None:
    sides = Square(epsilon=0.1, queries=10_000).sides(28, 28)
    assert len(sides) == 9_999
    shares = [0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625]
    after = [1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    expected = [max(round((share * 28 * 28) ** 0.5), 1) for share in shares]
    assert sides[np.array(after) - 1].tolist() == expected
    assert (np.diff(sides) <= 0).all()


def test_squares_that_change_nothing_are_not_evaluated() -> None:
    evaluated = tf.Variable(0)

    def bright(images):
        evaluated.assign_add(tf.shape(images)[0])
        return tf.reduce_sum(images, [1, 2, 3])[:, None] * [[1.0, 0.0]]

    images = np.full((3, 4, 4, 1), 0.5, np.float32)
    adversarial = Square(epsilon=0.25, queries=200)(bright, images, np.zeros(3, int))
    # Once the image is as dark as it may be, only the squares that brighten it are left.
    np.testing.assert_array_equal(adversarial, 0.25)
    assert 3 * 200 * 0.4 <= evaluated.numpy() <= 3 * 200 * 0.75
