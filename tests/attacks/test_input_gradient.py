from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks.input_gradient import value_and_gradient


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "channels", "by_blocks"),
    [
        ((12, 14), (4, 4), 2, 1, True),
        ((13, 15), (3, 5), 2, 3, True),
        ((12, 12), (1, 1), 2, 1, None),
        ((14, 14), (7, 7), 4, 3, None),
        ((12, 12), (3, 3), 1, 1, False),
        ((12, 12), (4, 4), 2, 5, False),
    ],
)
def test_it_is_the_gradient_of_tensorflow(size, kernel, stride, channels, by_blocks, padding) -> None:
    images = tf.constant(np.random.default_rng(0).random((2, *size, channels)), tf.float32)
    weights = tf.constant(np.random.default_rng(1).normal(size=(*kernel, channels, 4)), tf.float32)

    def logits(images):
        return tf.reshape(tf.nn.conv2d(images, weights, stride, padding), [len(images), -1])

    def loss(outputs):
        return tf.reduce_sum(tf.sin(outputs), 1)

    found = tf.function(lambda images: value_and_gradient(logits, loss, images))
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = logits(images)
        losses = loss(outputs)
    expected = outputs, losses, tape.gradient(losses, images)
    for one, other in zip(found(images), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    operations = {each.type for each in found.get_concrete_function(images).graph.get_operations()}
    if by_blocks is not None:
        assert ("DepthToSpace" in operations) is by_blocks
