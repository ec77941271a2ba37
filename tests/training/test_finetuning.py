from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import datasets
from tf_laq.adapters import adapter_of
from tf_laq.errors import InputError
from tf_laq.training import fine_tune, recipe, train


@pytest.fixture(scope="module")
def digits():
    """Return the digits without validation images, whose attack takes longer to trace than these tests to run."""
    return datasets.load("digits", validation_fraction=0.0)


@pytest.fixture(scope="module")
def short():
    """Return a few epochs of training with two steps of PGD."""
    attack = {"epsilon": 0.15, "steps": 2, "step_size": 0.1}
    return dataclasses.replace(
        recipe("digits", "finetune"), epochs=6, learning_rate=0.003, attack=attack, model_options={"width": 8}
    )


@pytest.fixture(scope="module")
def robust(digits, short):
    """Return a network for the digits that was trained adversarially for a short while."""
    return train(digits, dataclasses.replace(short, epochs=15, epsilon_warmup=0.3, learning_rate_warmup=0.3), seed=3)


@pytest.fixture(scope="module")
def tuned(robust, digits, short):
    """Return a plan of 2 bits and what fine-tuning made of it."""
    plan = laq.uniform(robust, "linear", 2, progress=False)
    return plan, fine_tune(robust, plan, digits, short)


@pytest.mark.slow
def test_fine_tuning_restores_the_robust_accuracy_of_a_coarse_grid(robust, digits, tuned, accuracy) -> None:
    plan, model = tuned
    quantized = laq.bake(robust, plan)
    for epsilon in (0.0, 0.15):
        assert accuracy(model, digits.test, epsilon) > accuracy(quantized, digits.test, epsilon) + 0.1


def test_what_a_tuned_network_computes_with_stays_on_the_grid_of_the_plan(tuned, digits) -> None:
    plan, model = tuned
    plain = laq.strip(model)
    for entry in plan.entries:
        kernel = plain.get_layer(entry.layer).get_weights()[0]
        assert np.unique(kernel).size <= 3
        np.testing.assert_array_equal(entry.make_quantizer().quantize(kernel), kernel)
    np.testing.assert_array_equal(plain(digits.test.images[:9]), model(digits.test.images[:9]))


@pytest.mark.slow
def test_the_given_network_stays_as_it_is_and_the_seed_fixes_the_result(robust, digits, short, tuned) -> None:
    plan, model = tuned
    before = [weight.copy() for weight in robust.get_weights()]
    again = fine_tune(robust, plan, digits, short)
    for a, b in zip(before, robust.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("keras", "examples"), [(2, "float"), (2, "quantized"), (3, "both")])
def test_every_source_of_examples_moves_the_float_weights_in_both_kerases(
    digits, short, keras: int, examples: str
) -> None:
    model = laq.models.build("digits_cnn", keras=keras, seed=0, width=2)
    plan = laq.uniform(model, "log", 3, progress=False)
    once = dataclasses.replace(short, epochs=1, batch_size=400, attack={**short.attack, "steps": 1})
    tuned = fine_tune(model, plan, digits, once, examples=examples)
    assert adapter_of(tuned).is_wrapped(tuned)
    moved = [not np.array_equal(a, b) for a, b in zip(model.get_weights(), tuned.get_weights(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("keras", [2, 3])
def test_the_float_twin_shares_its_variables_with_the_wrapped_network(digits, keras: int) -> None:
    model = laq.models.build("digits_cnn", keras=keras, seed=0, width=2)
    wrapped = laq.apply(model, laq.uniform(model, "linear", 2, progress=False))
    twin = adapter_of(wrapped).float_twin(wrapped)
    images = digits.test.images[:4]
    np.testing.assert_array_equal(twin(images), model(images))
    wrapped.trainable_weights[-1].assign(np.arange(10, dtype=np.float32))
    np.testing.assert_array_equal(twin.get_weights()[-1], np.arange(10))
    with pytest.raises(InputError, match="without a wrapped layer"):
        adapter_of(model).float_twin(model)


def test_normalised_networks_can_be_tuned_in_mixed_precision(digits, short) -> None:
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dense(10, name="logits"),
        ]
    )
    plan = laq.uniform(model, "linear", 3, progress=False)
    settings = dataclasses.replace(short, epochs=1, precision="mixed_bfloat16")
    tuned = fine_tune(model, plan, digits, settings)
    assert {layer.compute_dtype for layer in tuned.layers} == {"float32"}
    assert np.abs(tuned.get_weights()[4] - model.get_weights()[4]).max() > 0.0  # The moving mean.


def test_a_wrong_argument_is_refused_by_name(robust, digits, tuned) -> None:
    plan, _ = tuned
    with pytest.raises(InputError, match="examples: expected one of both, float, quantized"):
        fine_tune(robust, plan, digits, examples="mean")
    with pytest.raises(InputError, match="recipe: expected one with an attack"):
        fine_tune(robust, plan, digits, "plain")
    other = laq.models.build("digits_cnn", width=2)
    with pytest.raises(InputError, match="a plan for this model"):
        fine_tune(other, plan, digits)
