"""One network in both versions of Keras: the same plan, predictions, robust accuracy and training."""

import dataclasses

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import datasets, models
from tf_laq.adapters import keras_module
from tf_laq.attacks import Battery
from tf_laq.evaluation import evaluate
from tf_laq.training import recipe, train

COUNT = 100


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def trained(digits):
    """A function that trains a network adversarially from the same initial weights in either version of Keras."""
    initial = models.build("digits_cnn", seed=0).get_weights()

    def run(keras):
        def begin(logs=None):
            start.model.model.set_weights(initial)

        start = keras_module(keras).callbacks.LambdaCallback(on_train_begin=begin)
        short = dataclasses.replace(recipe("digits"), epochs=6)
        return train(digits, short, keras=keras, seed=1, callbacks=[start], progress=False)

    return run


@pytest.fixture(scope="module")
def twins(trained):
    """A robust tf_keras network, and a Keras 3 one with its weights."""
    first, second = trained(2), models.build("digits_cnn", keras=3)
    second.set_weights(first.get_weights())
    return first, second


@pytest.mark.parametrize("quantize", [laq.apply, laq.bake])
def test_a_plan_made_in_keras_2_gives_the_same_outputs_in_keras_3(twins, digits, quantize):
    plan = laq.search(twins[0], progress=False)
    assert laq.search(twins[1], progress=False) == plan
    first, second = (quantize(network, plan) for network in twins)
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    images = digits.test.images[:COUNT]
    assert np.array_equal(first(images), second(images))


@pytest.mark.slow
def test_predictions_and_robust_accuracy_are_the_same_image_by_image(twins, digits):
    images, labels = digits.test.images[:COUNT], digits.test.labels[:COUNT]
    np.testing.assert_allclose(twins[0](images), twins[1](images), atol=1e-5)
    battery = Battery.preset("digits", "standard")
    networks = {"2": twins[0], "3": twins[1]}
    report = evaluate(networks, images, labels, battery=battery, check_strength=False, progress=False)
    for column in battery.names:
        knowledge = "white" if report.has("2", column, "white") else "none"
        first, second = (report.correct(name, column, knowledge) for name in networks)
        # The two may round differently, and an image on the border falls to either side.
        assert np.sum(first != second) <= 1, column
    assert 0.2 < report.worst_case("2").value < report.accuracy("2", "clean").value


def test_adversarial_training_from_the_same_weights_comes_to_the_same_network(twins, trained):
    for ours, theirs in zip(twins[0].get_weights(), trained(3).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
