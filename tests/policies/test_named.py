"""Policies by name and by object, in the functions that take a model."""

import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import policies
from tf_laq.policies import Algorithm1, Guarded


@pytest.fixture
def model():
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [layers.Input((6, 6, 1)), layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(5, name="dense")]
    )


def test_the_default_is_guarded(model):
    assert laq.search(model) == laq.search(model, policy="guarded") == laq.search(model, policy=Guarded())


def test_algorithm_1_takes_the_quantizers_of_the_paper(model):
    plan = laq.search(model, policy="paper")
    assert plan == laq.search(model, policy=Algorithm1())
    assert plan == laq.search(model, policy="paper", methods=("linear", "log"))
    assert {entry.quantizer for entry in plan.entries} <= {"linear", "log"}


def test_a_policy_by_name_is_the_object_with_the_same_settings(model):
    assert laq.search(model, policy="guarded", max_bits=7) == laq.search(model, policy=Guarded(max_bits=7))
    plan = laq.search(model, policy="budget", average_bits=3.5)
    assert plan.average_bits <= 3.5
    assert laq.search(model, policy="budget", max_bytes=plan.bytes).bytes <= plan.bytes


def test_apply_takes_a_policy_for_the_plan_it_makes(model):
    quantized = laq.apply(model, policy="guarded", baked=True)
    planned = laq.apply(model, laq.search(model, policy="guarded"), baked=True)
    assert all(np.array_equal(a, b) for a, b in zip(quantized.get_weights(), planned.get_weights(), strict=True))
    with pytest.raises(laq.InputError, match="policy: expected none beside a plan"):
        laq.apply(model, laq.search(model), policy="guarded")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "best"}, r"policy: expected a policy, or one of guarded.*'best'.*policies\.hawq"),
        ({"policy": "budget"}, "limit: expected average_bits or max_bytes. Received: neither"),
        ({"policy": "guarded", "average_bits": 3}, "average_bits: expected none with the policy guarded"),
        ({"policy": "budget", "average_bits": 3, "thresholds": laq.Thresholds()}, "thresholds: expected none"),
        ({"policy": Guarded(), "max_bits": 3}, "max_bits: expected none beside a policy object"),
        ({"policy": "guarded", "methods": ("cubic",)}, "quantizer: expected one of"),
    ],
)
def test_settings_that_a_policy_does_not_have_are_refused(model, settings, message):
    with pytest.raises(laq.InputError, match=message):
        laq.search(model, **settings)


def test_every_name_makes_a_policy():
    limits = {"budget": {"average_bits": 4}, "random": {"average_bits": 4}}
    for name in policies.NAMES:
        assert isinstance(policies.named(name, **limits.get(name, {})), policies.Policy)


def test_a_codebook_is_simulated_trained_and_stripped(model):
    wrapped = laq.apply(model, laq.uniform(model, "kmeans", 3))
    wrapped.compile("sgd", "mse")
    images = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)
    wrapped.fit(images, np.ones((4, 5)), verbose=0)
    stripped = laq.strip(wrapped)
    assert np.array_equal(stripped(images), wrapped(images))
    assert np.unique(stripped.get_layer("dense").kernel).size <= 8
