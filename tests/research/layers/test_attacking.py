"""The small battery, against its attacks one by one."""

import numpy as np
import tensorflow as tf

from research.layers.attacking import SmallBattery
from research.layers.settings import LayerSettings
from tf_laq.attacks import APGDCrossEntropy, Square
from tf_laq.evaluation import Examples
from tf_laq.quantizers import Linear


def test_an_image_is_right_at_the_end_if_it_withstands_each_attack(study, trials, data):
    # Two batches of the size that the attacks are traced for.
    halves = [np.arange(12), np.arange(12, 24)]
    images, labels, logits = data.test.images[:24], data.test.labels[:24], study._canvas.logits
    battery = SmallBattery(logits, None, study.settings)
    battery._zeros = lambda data: 0.0  # Without the second search.
    with study._canvas.quantized(study.tensors[0], Linear(3)):
        found = battery(Examples(images, labels, np.arange(24), 12, 3)).right

        def right(attack):
            shown = [attack(logits, images[rows], labels[rows], seed=3, indices=rows) for rows in halves]
            return np.argmax(logits(np.concatenate(shown)), axis=1) == labels

        gradient, square = right(APGDCrossEntropy(epsilon=0.03, steps=3)), right(Square(epsilon=0.03, queries=8))
        np.testing.assert_array_equal(found["clean"], np.argmax(logits(images), axis=1) == labels)
    np.testing.assert_array_equal(found["apgd_ce"], found["clean"] & gradient)
    np.testing.assert_array_equal(found["square"], found["apgd_ce"] & square)
    assert 0 < found["square"].sum() < 24


def test_the_second_search_finds_what_a_vanished_gradient_hides():
    def dark(images):  # sees nothing below a half
        brightness = tf.reduce_sum(tf.nn.relu(images - 0.5), [1, 2, 3])
        return tf.stack([brightness - 0.1, 0.1 - brightness], axis=1)

    images, labels = np.full((3, 2, 2, 1), 0.3, np.float32), np.ones(3, np.int64)
    examples = Examples(images, labels, np.arange(3), 3, 0)
    settings = LayerSettings(epsilon=0.5, steps=5, queries=1)
    for starts in (None, images):
        found = SmallBattery(dark, None, settings)(examples, starts)
        assert found.zeros == 1.0
        assert not found.right["apgd_ce"].any()
