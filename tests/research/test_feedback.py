from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from research import feedback
from research.feedback import FeedbackSettings, feedback_learning, images_to_logits
from tf_laq import datasets
from tf_laq.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def plain(digits):
    """Return a plainly trained network for the digits."""
    import tf_keras

    initializer = tf_keras.initializers.GlorotUniform(seed=0)
    layers = [
        tf_keras.Input((8, 8, 1)),
        tf_keras.layers.Flatten(),
        tf_keras.layers.Dense(32, activation="relu", kernel_initializer=initializer),
        tf_keras.layers.Dense(10, kernel_initializer=initializer),
    ]
    model = tf_keras.Sequential(layers)
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits.train.images, digits.train.labels, epochs=15, shuffle=False, verbose=0)
    return model


@pytest.fixture
def short() -> FeedbackSettings:
    return dataclasses.replace(FeedbackSettings.preset("digits"), rounds=2, images_per_round=64)


@pytest.fixture
def linear():
    """Return a linear classifier of 4x4 images in three classes, and its weights (16, 3) and biases (3,)."""
    random = np.random.default_rng(3)
    weights = random.normal(size=(16, 3)).astype(np.float32)
    biases = random.normal(size=3).astype(np.float32)

    def logits(images):
        return tf.reshape(images, [-1, 16]) @ weights + biases

    return logits, weights, biases


@pytest.mark.parametrize("bisections", [0, 3, 12])
def test_the_distance_to_the_boundary_of_a_linear_classifier_is_the_analytic_one(linear, bisections: int) -> None:
    logits, weights, biases = linear
    random = np.random.default_rng(0)
    images = random.uniform(0.4, 0.6, (200, 4, 4, 1)).astype(np.float32)  # Nothing is clipped within 0.4.
    labels = np.argmax(images.reshape(200, 16) @ weights + biases, axis=1)
    directions = random.choice(np.float32([-1.0, 1.0]), images.shape)
    values, slopes = images.reshape(200, 16) @ weights + biases, directions.reshape(200, 16) @ weights
    true = np.arange(200), labels
    gaps, rates = values[true][:, None] - values, slopes[true][:, None] - slopes
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(rates < 0, gaps / -rates, np.inf)
    expected = expected.min(axis=1)
    found = feedback.boundary_distances(logits, images, labels, directions, radius=0.4, probes=4, bisections=bisections)
    crossing = expected < 0.4 - 1e-5
    assert 20 < crossing.sum() < 180
    assert np.isinf(found[expected > 0.4 + 1e-5]).all()
    assert (found[crossing] >= expected[crossing] - 1e-5).all()
    assert (found[crossing] <= expected[crossing] + 0.1 / 2**bisections + 1e-5).all()


def test_a_misclassified_image_is_at_distance_zero(linear) -> None:
    logits, weights, biases = linear
    images = np.full((5, 4, 4, 1), 0.5, np.float32)
    wrong = np.argmin(images.reshape(5, 16) @ weights + biases, axis=1)
    directions = np.ones_like(images)
    assert feedback.boundary_distances(logits, images, wrong, directions, radius=0.3).tolist() == [0.0] * 5


@pytest.mark.parametrize("steps", [1, 3])
def test_the_direction_towards_a_class_of_a_linear_classifier_is_the_sign_of_the_weights(linear, steps: int) -> None:
    logits, weights, _ = linear
    images = np.full((2, 4, 4, 1), 0.5, np.float32)
    found = feedback.directions_to_classes(logits, images, [0, 1], [2, 0], radius=0.1, steps=steps)
    expected = np.sign([weights[:, 2] - weights[:, 0], weights[:, 0] - weights[:, 1]])
    np.testing.assert_array_equal(found.reshape(2, 16), expected)


def test_shares_are_inverse_to_the_mean_margin_of_the_class() -> None:
    margins = np.float32([0.1, 0.3, 0.1, 0.1])
    shares = feedback._shares(margins, np.array([0, 0, 1, 1]), classes=3, max_radius=0.4)
    np.testing.assert_allclose(shares, np.array([5.0, 10.0, 2.5]) / 17.5, rtol=1e-6)


def test_images_are_drawn_by_the_shares_and_none_twice_before_all_are_drawn() -> None:
    labels = np.repeat([0, 1, 2], [50, 50, 50])
    split = datasets.Split(np.arange(150, dtype=np.float32).reshape(150, 1, 1, 1), labels)
    drawn = feedback._draw(split, np.array([0.8, 0.2, 0.0]), 60, np.random.default_rng(0))
    counts = np.bincount(drawn.labels, minlength=3)
    assert counts[0] > 35 and counts[1] > 3 and counts[2] == 0
    places = drawn.images.ravel().astype(int)
    np.testing.assert_array_equal(labels[places], drawn.labels)
    assert np.bincount(places, minlength=150)[:50].max() <= -(-counts[0] // 50)


def test_examples_lie_just_across_the_boundary_with_the_label_of_their_image(plain, digits, short) -> None:
    logits = images_to_logits(plain)
    settings = dataclasses.replace(short, max_radius=0.5, reach=1.05, bisections=8)
    split = datasets.Split(digits.train.images[:100], digits.train.labels[:100])
    examples, margins = feedback._placed(logits, split, 10, settings, np.random.default_rng(0))
    assert len(examples) == 100 * (1 + settings.directions)
    np.testing.assert_array_equal(examples.images[:100], split.images)
    np.testing.assert_array_equal(examples.labels, np.tile(split.labels, 1 + settings.directions))
    moved = np.abs(examples.images - np.tile(split.images, (1 + settings.directions, 1, 1, 1))).max(axis=(1, 2, 3))
    assert moved.max() <= 0.5 + 1e-6
    towards_classes = slice(100, 100 * (1 + settings.class_directions))
    wrong = np.argmax(logits(examples.images[towards_classes]), axis=1) != examples.labels[towards_classes]
    assert wrong.mean() > 0.9
    assert 0.0 < margins.mean() < 0.3


@pytest.mark.slow
def test_feedback_learning_widens_the_margins_and_leaves_the_given_network_alone(plain, digits, accuracy) -> None:
    before = [weight.copy() for weight in plain.get_weights()]
    settings = dataclasses.replace(FeedbackSettings.preset("digits"), rounds=8)
    learnt = feedback_learning(plain, digits, settings, progress=False)
    for a, b in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert accuracy(learnt, digits.test) > 0.9
    assert accuracy(learnt, digits.test, epsilon=0.1) > accuracy(plain, digits.test, epsilon=0.1) + 0.1


def test_the_seed_fixes_the_weights(digits, short) -> None:
    import tf_keras

    network = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(10)])
    settings = dataclasses.replace(short, class_directions=1, direction_steps=1)
    first, again, other = (feedback_learning(network, digits, settings, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_a_keras_3_network_is_retrained_as_one(digits, short) -> None:
    import keras

    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    learnt = feedback_learning(network, digits, dataclasses.replace(short, random_directions=0))
    assert isinstance(learnt, keras.Model)
    assert not np.array_equal(learnt.get_weights()[0], network.get_weights()[0])


@pytest.mark.parametrize("dataset", datasets.names())
def test_every_data_set_has_settings_that_say_what_they_are_for(dataset: str) -> None:
    assert FeedbackSettings.preset(dataset).about


@pytest.mark.parametrize(
    ("setting", "value"),
    [("rounds", 0), ("images_per_round", 1.5), ("max_radius", 0.0), ("reach", float("nan")), ("precision", "int8")],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, value: object) -> None:
    settings = dataclasses.asdict(FeedbackSettings.preset("digits")) | {setting: value}
    with pytest.raises(InputError, match=setting):
        FeedbackSettings(**settings)


def test_no_direction_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="directions"):
        dataclasses.replace(FeedbackSettings.preset("digits"), class_directions=0, random_directions=0)


def test_what_is_no_keras_model_is_refused(digits, short) -> None:
    with pytest.raises(InputError, match="model: expected a tf_keras"):
        feedback_learning(lambda images: tf.zeros([len(images), 10]), digits, short)


def test_settings_for_an_unknown_data_set_are_refused() -> None:
    with pytest.raises(InputError, match="digits, mnist, cifar10"):
        FeedbackSettings.preset("imagenet")
