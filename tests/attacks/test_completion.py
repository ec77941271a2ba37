from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import BIM, PGD, APGDCrossEntropy
from tf_laq.attacks.completion import completed_gradient


def gradient_of(logits, images):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = tf.reduce_sum(tf.square(logits(images)))
    return tape.gradient(loss, images).numpy()


@pytest.fixture(scope="module")
def unseeing(logits):
    """Return the network behind a threshold: it sees no change of a pixel that is darker."""
    return lambda images: logits(tf.nn.relu(images - 0.1))


def test_the_outputs_and_the_gradient_that_is_there_are_the_models_own(unseeing, images) -> None:
    completed = completed_gradient(unseeing, 0.2)
    np.testing.assert_array_equal(completed(tf.constant(images)), unseeing(tf.constant(images)))
    own, found = gradient_of(unseeing, images), gradient_of(completed, images)
    assert 0.2 < np.mean(own == 0.0) < 0.8
    np.testing.assert_array_equal(found[own != 0.0], own[own != 0.0])
    assert np.mean(found == 0.0) < 0.2 * np.mean(own == 0.0)


def test_what_is_zero_nearby_too_comes_from_the_float_model(unseeing, logits, images) -> None:
    def dead(batch):
        return logits(tf.round(batch * 15.0) / 15.0 + 0.0 * batch)

    def first_row(batch):
        return tf.pad(2.0 * batch[:, 0, :, 0], [[0, 0], [0, 2]])

    found = gradient_of(completed_gradient(dead, 0.2, first_row), images[:5])
    upstream = 2.0 * dead(tf.constant(images[:5]))[:, :8].numpy()
    assert (gradient_of(completed_gradient(dead, 0.2), images[:5]) == 0.0).all()
    np.testing.assert_allclose(found[:, 0, :, 0], 2.0 * upstream, rtol=1e-5)


@pytest.mark.parametrize(
    "attack",
    [PGD(epsilon=0.2, steps=20), BIM(epsilon=0.2, steps=20), APGDCrossEntropy(epsilon=0.2, steps=20)],
    ids=repr,
)
def test_attacks_on_it_break_more_of_the_model(attack, unseeing, images, labels) -> None:
    def accuracy(logits):
        adversarial = attack(logits, images[:200], labels[:200])
        return np.mean(np.argmax(unseeing(tf.constant(adversarial)), axis=1) == labels[:200])

    assert accuracy(completed_gradient(unseeing, 0.2)) < accuracy(unseeing)


def test_its_gradient_does_not_depend_on_the_batch(unseeing, images) -> None:
    completed = completed_gradient(unseeing, 0.2)
    apart = [gradient_of(completed, images[start : start + 25]) for start in (0, 25)]
    np.testing.assert_allclose(np.concatenate(apart), gradient_of(completed, images[:50]), rtol=1e-3, atol=1e-4)
