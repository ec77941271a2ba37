from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq.adapters import logits_function
from tf_laq.attacks import DIVA, PGD
from tf_laq.attacks.diva import deceived
from tf_laq.errors import InputError

EPSILON = 0.1


@pytest.fixture(scope="module")
def quantized(network):
    return logits_function(laq.bake(network, laq.uniform(network, "linear", 3)))


@pytest.fixture(scope="module")
def found(quantized, logits, images, labels):
    return DIVA(epsilon=EPSILON, steps=20)(quantized, images[:200], labels[:200], float_logits=logits)


def test_it_deceives_more_than_an_attack_on_the_quantized_model_alone(found, quantized, logits, images, labels) -> None:
    alone = PGD(epsilon=EPSILON, steps=20)(quantized, images[:200], labels[:200])
    with_both, with_one = (deceived(quantized, logits, x, labels[:200]).mean() for x in (found, alone))
    assert with_both >= with_one + 0.1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_stay_in_the_ball_and_keep_the_float_model_right(norm, quantized, logits, images, labels) -> None:
    few, classes = images[:50], labels[:50]
    adversarial = DIVA(epsilon=0.2, norm=norm, steps=10)(quantized, few, classes, float_logits=logits)
    order = {"linf": np.inf, "l2": 2}[norm]
    assert np.linalg.norm((adversarial - few).reshape(50, -1), axis=1, ord=order).max() <= 0.2 + 1e-6
    right = np.argmax(logits(tf.constant(few)), axis=1) == classes
    assert (np.argmax(logits(tf.constant(adversarial)), axis=1) == classes)[right].all()


def test_the_result_does_not_depend_on_the_batch(found, quantized, logits, images, labels) -> None:
    part = DIVA(epsilon=EPSILON, steps=20)(quantized, images[30:60], labels[30:60], float_logits=logits)
    np.testing.assert_allclose(part, found[30:60], atol=1e-4)


def test_a_call_without_the_float_model_is_refused(quantized, images, labels) -> None:
    with pytest.raises(InputError, match="^float_logits: expected the logits of the float model, .*diva needs"):
        DIVA(epsilon=EPSILON)(quantized, images[:2], labels[:2])


def test_a_float_model_with_other_outputs_is_refused(quantized, images, labels) -> None:
    with pytest.raises(InputError, match="^float model: expected logits"):
        DIVA(epsilon=EPSILON)(quantized, images[:2], labels[:2], float_logits=lambda x: tf.nn.softmax(x[:, 0, :, 0]))
