"""Inputs that are no images, numbers of classes, and radii."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq import attacks
from tf_laq.attacks.base import BallAttack
from tf_laq.attacks.registry import CLASSES, attack_class
from tf_laq.errors import InputError

EVERY_SHAPE = [
    attacks.get("gaussian", standard_deviation=0.2),
    attacks.get("uniform", epsilon=0.2, norm="l2"),
    *(attacks.get(name, epsilon=0.2) for name in ("uniform", "fgsm", "pgd", "bim", "mim", "apgd_ce")),
    *(attacks.get(name, epsilon=0.5, norm="l2") for name in ("fgsm", "pgd", "bim", "mim", "apgd_ce")),
    attacks.get("cw_l2", epsilon=0.5, steps=10, start_steps=20),
    attacks.get("ddn", epsilon=0.5, steps=20),
]
SHAPES = [(16,), (8, 2), (4, 4, 1)]


def model_of(direction):
    def logits(inputs):
        margin = tf.reduce_sum(tf.reshape(inputs - 0.5, [-1, 16]) * direction, 1) + 0.1
        return tf.stack([margin, tf.zeros_like(margin)], 1)

    return logits


@pytest.fixture
def linear():
    """Return a maker of the same linear model, an object of its own for each shape of inputs."""
    return lambda: model_of(np.random.default_rng(1).normal(size=16).astype(np.float32))


@pytest.mark.parametrize("attack", EVERY_SHAPE, ids=repr)
def test_features_and_signals_are_perturbed_as_images_of_the_same_values(attack, linear) -> None:
    values, labels = np.random.default_rng(0).random((5, 16)).astype(np.float32), np.array([0, 1, 0, 0, 1])
    features, signals, images = (attack(linear(), values.reshape(5, *shape), labels, seed=2) for shape in SHAPES)
    assert [found.shape[1:] for found in (features, signals, images)] == SHAPES
    np.testing.assert_allclose(features, images.reshape(5, -1), atol=1e-6)
    np.testing.assert_allclose(signals, images.reshape(5, 8, 2), atol=1e-6)
    assert (features != values).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_deceiving_attack_takes_every_shape(shape, linear) -> None:
    values = np.random.default_rng(0).random((5, *shape)).astype(np.float32)
    model = linear()
    labels = np.argmax(model(tf.constant(values)), axis=1)
    other = model_of(np.random.default_rng(2).normal(size=16).astype(np.float32))
    float_logits = {"float_logits": lambda x: tf.cast(other(x), tf.float64)}
    found = attacks.DIVA(epsilon=0.3, steps=5)(model, values, labels, **float_logits)
    assert found.shape == values.shape


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_square_needs_images(shape, linear) -> None:
    with pytest.raises(InputError, match=r"attack square: expected images of shape \(n, height, width, channels\)"):
        attacks.get("square", epsilon=0.1)(linear(), np.zeros((2, *shape), np.float32), [0, 1])


BALLS = sorted(name for name in CLASSES if issubclass(attack_class(name), BallAttack))


@pytest.mark.parametrize("name", BALLS)
def test_a_radius_beyond_the_range_of_a_pixel_is_refused_in_linf(name) -> None:
    with pytest.raises(InputError, match=r"at most 1 in L-inf.* Received: 8\. Write 8/255 for 8 grey"):
        attacks.get(name, epsilon=8)
    assert attacks.get(name, epsilon=1.0).epsilon == 1.0
    if name != "square":
        assert attacks.get(name, epsilon=8, norm="l2").epsilon == 8


@pytest.mark.parametrize(("name", "fewest"), [("apgd_ce", 2), ("apgd_dlr", 3), ("apgd_t", 4)])
def test_an_attack_says_how_many_classes_it_needs_and_takes_as_many(name, fewest) -> None:
    attack = attacks.get(name, epsilon=0.3, steps=10)
    assert attack.fewest_classes == fewest
    weights = np.random.default_rng(0).normal(size=(16, fewest)).astype(np.float32)
    images = np.random.default_rng(1).random((20, 16)).astype(np.float32)
    labels = np.argmax(images @ weights, axis=1)

    def broken(logits):
        return np.argmax(logits(tf.constant(attack(logits, images, labels))), axis=1) != labels

    assert broken(lambda x: x @ weights).mean() > 0.3
    if fewest > 2:
        with pytest.raises(InputError, match=f"at least {fewest} classes for the attack {name}"):
            attack(lambda x: (x @ weights)[:, :-1], images, np.minimum(labels, fewest - 2))


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"apgd_dlr", "apgd_t"}))
def test_the_other_attacks_need_two_classes(name) -> None:
    assert attack_class(name).fewest_classes == 2
