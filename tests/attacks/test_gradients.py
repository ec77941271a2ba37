"""Attacks neither depend on the scale of the logits nor stop where a gradient is no number."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st

from tf_laq import attacks
from tf_laq.adapters import keras_module, logits_function
from tf_laq.attacks.cleverhans import (
    ascent,
    cross_entropy,
    gradient_step,
    gradient_step_and_margins,
    loss_gradient,
    scaled,
)
from tf_laq.attacks.second_search import completed_gradient

COUNT = 200
LINF, L2 = {"epsilon": 0.08}, {"epsilon": 0.5, "norm": "l2"}
FOLLOWING = [
    attacks.get(name, **ball, **({} if name == "fgsm" else {"steps": 20}))
    for ball in (LINF, L2)
    for name in ("fgsm", "pgd", "bim", "mim", "apgd_ce", "apgd_dlr")
] + [
    attacks.get("apgd_t", **LINF, steps=10, targets=3),
    attacks.get("pgd", **LINF, steps=20, stop_when_broken=True),
    attacks.get("ddn", epsilon=0.5, steps=50),
    attacks.get("cw_l2", epsilon=0.5, start_steps=30, steps=30, binary_search_steps=2),
]


@pytest.fixture(scope="module")
def survivors(images, labels):
    """Return a function that counts the images that a model withstands an attack on."""

    def count(attack, logits):
        adversarial = attack(logits, images[:COUNT], labels[:COUNT])
        assert np.isfinite(adversarial).all()
        assert adversarial.min() >= 0.0
        assert adversarial.max() <= 1.0
        return int((np.argmax(logits(tf.constant(adversarial)), axis=1) == labels[:COUNT]).sum())

    return count


class TestScaleOfTheLogits:
    @pytest.mark.parametrize("attack", FOLLOWING, ids=repr)
    @pytest.mark.parametrize("factor", [4.0, 100.0])
    def test_an_attack_breaks_as_many_whatever_it_is(self, attack, factor, survivors, logits) -> None:
        # The cross-entropy is another function of other logits: one step takes another direction.
        found, expected = survivors(attack, lambda images: factor * logits(images)), survivors(attack, logits)
        # One step more or less in another direction counts for much if it is the only one.
        allowed = 10 if attack.name == "fgsm" else 2 if factor < 100.0 else 6
        assert expected - 10 <= found <= expected + allowed

    @pytest.mark.parametrize("name", ["pgd", "bim", "apgd_ce", "ddn"])
    def test_it_does_not_matter_what_is_added_to_all_of_them(self, name, survivors, logits) -> None:
        attack = attacks.get(name, epsilon=0.5, steps=20, **({} if name == "ddn" else {"norm": "l2"}))
        assert abs(survivors(attack, lambda images: logits(images) + 50.0) - survivors(attack, logits)) <= 2

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    @given(exponent=st.floats(-6, 6), seed=st.integers(0, 99))
    def test_a_step_is_the_same(self, norm, exponent, seed, linear_logits) -> None:
        factor = 10.0**exponent
        images = tf.constant(np.random.default_rng(seed).random((3, 4, 4, 1), dtype=np.float32))
        labels = tf.constant([0, 1, 0], tf.int64)
        expected = gradient_step(linear_logits, images, labels, 0.25, norm)
        found = gradient_step(lambda x: factor * linear_logits(x), images, labels, 0.25, norm)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    @given(exponent=st.floats(-30, 30), seed=st.integers(0, 99))
    def test_a_step_in_l2_is_as_long_as_it_should_be(self, exponent, seed) -> None:
        gradient = 10.0**exponent * np.random.default_rng(seed).normal(size=(3, 4, 4, 1)).astype(np.float32)
        step = ascent(tf.constant(gradient), 0.25, "l2").numpy()
        np.testing.assert_allclose(np.linalg.norm(step.reshape(3, -1), axis=1), 0.25, rtol=1e-6)

    def test_scaling_changes_no_bit_but_those_of_the_exponent(self) -> None:
        gradient = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
        ratio = gradient / scaled(tf.constant(gradient)).numpy()
        assert (np.frexp(ratio)[0] == 0.5).all()
        assert (ratio == ratio[:, :1, :1]).all()

    @pytest.mark.parametrize("margin", [30.0, 100.0, 1e6, 1e30])
    def test_the_cross_entropy_has_a_gradient_at_any_margin_and_falls_with_it(self, margin) -> None:
        labels, logits = tf.constant([0]), tf.constant([[margin, 0.0, -3.0]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = cross_entropy(labels, logits)
        gradient = tape.gradient(loss, logits)[0].numpy()
        assert gradient[1] >= gradient[2] >= 0.0
        assert gradient[1] > 0.0
        assert gradient[0] < 0.0 or margin == 30.0
        assert cross_entropy(labels, 2.0 * logits).numpy() < max(loss.numpy(), 1e-9)

    @given(margin=st.floats(-100, 33, width=32))
    def test_up_to_a_margin_of_33_it_is_tensorflows_to_the_last_bit(self, margin) -> None:
        labels, logits = tf.constant([0]), tf.constant([[margin, 0.0, -3.0]])
        expected = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        np.testing.assert_array_equal(cross_entropy(labels, logits), expected)


DETOURS = {
    "gamma": lambda x: tf.pow(tf.pow(x, 0.5), 2.0),
    "length": lambda x: tf.sqrt(tf.square(x)),
    "logarithm": lambda x: tf.exp(tf.math.log(x)),
}


class TestGradientsThatAreNoNumbers:
    """Detours that compute x, with a gradient of NaN or infinity at black pixels."""

    @pytest.mark.parametrize("attack", FOLLOWING, ids=repr)
    def test_an_attack_breaks_what_it_breaks_without_the_detour(self, attack, survivors, logits) -> None:
        # One step from the clean image cannot leave the black pixels.
        allowed = COUNT if attack.name == "fgsm" else 6 if attack.name == "mim" else 3
        found = survivors(attack, lambda images: logits(DETOURS["gamma"](images)))
        assert found <= survivors(attack, logits) + allowed

    @pytest.mark.parametrize("detour", DETOURS)
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("name", ["ddn", "pgd"])
    def test_in_models_of_both_versions_of_keras(self, name, version, detour, network, survivors, logits) -> None:
        keras = keras_module(version)
        layers = [keras.layers.Lambda(DETOURS[detour]), *(made_again(layer, keras) for layer in network.layers)]
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        model.set_weights(network.get_weights())
        attack = attacks.get(name, epsilon=0.5, steps=30, **({"norm": "l2"} if name == "pgd" else {}))
        assert abs(survivors(attack, logits_function(model)) - survivors(attack, logits)) <= 3

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_such_entries_count_as_zero_and_the_others_as_they_are(self, norm, linear_logits) -> None:
        images = np.full((1, 4, 4, 1), 0.5, np.float32)
        images[0, 0] = 0.0
        labels = tf.constant([0], tf.int64)
        found, _ = gradient_step_and_margins(
            lambda x: linear_logits(tf.sqrt(x)), tf.constant(images), labels, 0.1, norm
        )
        step = found.numpy() - images
        assert np.isinf(loss_gradient(lambda x: linear_logits(tf.sqrt(x)), tf.constant(images), labels)[0, 0]).all()
        np.testing.assert_allclose(step[0, 0], 2.0**-14)
        length = np.abs(step[0, 1:]).max() if norm == "linf" else np.linalg.norm(step[0, 1:])
        np.testing.assert_allclose(length, 0.1, rtol=1e-5)

    def test_a_completed_gradient_has_the_one_nearby_there(self, linear_logits) -> None:
        images = tf.zeros([1, 4, 4, 1])
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = completed_gradient(lambda x: linear_logits(tf.sqrt(x)), 0.2)(images)
        gradient = tape.gradient(outputs, images).numpy()
        assert np.isfinite(gradient).all()
        assert (gradient != 0.0).all()


def made_again(layer, keras):
    config = {name: value for name, value in layer.get_config().items() if name in ARGUMENTS}
    return getattr(keras.layers, type(layer).__name__)(**config)


ARGUMENTS = ("filters", "kernel_size", "strides", "padding", "units", "activation")


@pytest.mark.parametrize("dtype", [tf.float64, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("attack", [*FOLLOWING[::3], attacks.get("square", epsilon=0.1, queries=50)], ids=repr)
def test_logits_of_any_dtype_are_cast_once(attack, dtype, images, labels, logits) -> None:
    adversarial = attack(lambda x: tf.cast(logits(x), dtype), images[:50], labels[:50])
    assert adversarial.dtype == np.float32
    if dtype == tf.float64:
        np.testing.assert_allclose(adversarial, attack(logits, images[:50], labels[:50]), atol=1e-5)
