"""Calls that share their quantized weights compute what calls without do."""

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq import quantizers
from tf_laq.adapters import kernels
from tf_laq.adapters.once import quantized_once
from tf_laq.attacks.cleverhans import gradient_step


@pytest.fixture
def counted():
    """Return a quantizer that counts how often a graph quantizes with it."""

    @quantizers.register
    class Counted(quantizers.Linear):
        name, times = "counted", 0

        def straight_through(self, weights):
            Counted.times += 1
            return super().straight_through(weights)

    yield Counted
    quantizers.unregister("counted")


@pytest.mark.parametrize("keras", [2, 3])
def test_weights_are_quantized_once_a_step_and_all_results_stay_the_same(keras, counted):
    model = laq.models.build("digits_cnn", keras=keras, seed=0, width=2)
    plan = laq.uniform(model, "counted", 3, progress=False)
    wrapped = laq.apply(model, plan)
    images = tf.constant(np.random.default_rng(0).random((5, 8, 8, 1)), tf.float32)
    labels = tf.range(5, dtype=tf.int64)

    def step():
        moved = images
        for _ in range(2):
            moved = gradient_step(lambda x: wrapped(x, training=False), moved, labels, 0.1, "linf")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(wrapped(moved, training=True) ** 2)
        return moved, tape.gradient(loss, [kernels.wide_variable(w) for w in wrapped.trainable_weights])

    @tf.function
    def once():
        with quantized_once(wrapped):
            return step()

    each = tf.function(step)
    counted.times = 0
    once()
    assert counted.times == len(plan.entries)
    for _ in range(2):
        for shared, own in zip(tf.nest.flatten(once()), tf.nest.flatten(each()), strict=True):
            np.testing.assert_allclose(shared, own, rtol=1e-5, atol=1e-6)
        # The same graph, of other weights.
        wrapped.set_weights([weight + 0.1 * weight**2 for weight in wrapped.get_weights()])
    with quantized_once(wrapped):
        np.testing.assert_array_equal(wrapped(images), laq.strip(wrapped)(images))
