"""Policies by name and by object, in the functions that take a model."""

import warnings

import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import policies, quantizers as q
from tf_laq.policies import Algorithm1, Budget, Guarded, Limit, RandomBits

IMAGES = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)
LIMIT = Limit(average_bits=4)


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
    assert plan == laq.search(model, policy="paper", quantizers=("linear", "log"))
    assert {entry.quantizer for entry in plan.entries} <= {"linear", "log"}


def test_a_policy_by_name_is_the_object_with_the_same_settings(model):
    assert laq.search(model, policy="guarded", max_bits=7) == laq.search(model, policy=Guarded(max_bits=7))
    plan = laq.search(model, policy="budget", average_bits=3.5)
    assert plan.average_bits <= 3.5
    assert laq.search(model, policy="budget", max_bytes=plan.bytes).bytes <= plan.bytes


@pytest.mark.parametrize("quantize", [laq.apply, laq.bake])
def test_without_a_plan_a_model_is_quantized_by_the_default_policy(model, quantize):
    quantized, planned = quantize(model), quantize(model, laq.search(model))
    assert np.array_equal(quantized(IMAGES), planned(IMAGES))
    assert laq.plan_of(quantized) == laq.search(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "best"}, r"policy: expected a policy, or one of guarded.*'best'.*policies\.Hawq"),
        ({"policy": "budget"}, "limit: expected average_bits or max_bytes. Received: neither"),
        ({"policy": "guarded", "average_bits": 3}, "average_bits: expected none with the policy guarded"),
        ({"policy": Guarded(), "max_bits": 3}, "max_bits: expected none beside a policy object"),
        ({"policy": "guarded", "quantizers": ("cubic",)}, "quantizer: expected one of"),
        ({"quantizers": "linear"}, r"quantizers: expected a list"),
        ({"overrides": {"conv9": "linear:3"}}, "overrides: expected patterns for the layers conv, dense"),
        ({"overrides": {"conv": "linear"}}, r"overrides\['conv'\]: expected \"quantizer:bits\""),
        ({"overrides": {"conv": 8}}, r"overrides\['conv'\]: expected \"quantizer:bits\".*Received: 8"),
        ({"overrides": {"conv": "cubic:8"}}, "quantizer: expected one of"),
    ],
)
def test_settings_that_a_policy_does_not_have_are_refused(model, settings, message):
    with pytest.raises(laq.InputError, match=message):
        laq.search(model, **settings)


@pytest.mark.parametrize("name", policies.NAMES)
def test_quantizers_that_have_no_setting_within_the_bits_are_refused_by_every_policy(model, name):
    size = {"average_bits": 4} if name in ("budget", "random") else {}
    with pytest.raises(laq.InputError, match=r"max_bits: expected at least the fewest bits.*kmeans 2.*Raise max_bits"):
        laq.search(model, policy=name, quantizers=("kmeans",), max_bits=1, **size)


def test_one_quantizer_too_wide_for_the_bits_leaves_the_others_to_choose_from(model):
    for policy in (Guarded, Algorithm1, lambda **s: Budget(limit=LIMIT, **s), lambda **s: RandomBits(limit=LIMIT, **s)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", policies.UnsatisfiedWarning)
            plan = laq.search(model, policy=policy(quantizers=("kmeans", "linear"), max_bits=1))
        assert {(entry.quantizer, entry.bits) for entry in plan.entries} == {("linear", 1)}


@pytest.mark.parametrize("setting", ["log:5", q.Log(5)])
def test_overrides_are_measured_and_the_last_pattern_counts(model, setting):
    plan = laq.search(model, overrides={"*": "float32", "conv*": setting})
    conv, dense = plan.entries
    assert (conv.quantizer, conv.bits, dense.quantizer) == ("log", 5, None)
    assert conv.error_norm == laq.uniform(model, "log", 5).entries[0].error_norm
    assert laq.search(model, overrides={"*": None}).average_bits == 32


def test_every_name_makes_a_policy():
    limits = {"budget": {"average_bits": 4}, "random": {"average_bits": 4}}
    for name in policies.NAMES:
        assert isinstance(policies.get(name, **limits.get(name, {})), policies.Policy)


def test_a_codebook_is_simulated_trained_and_stripped(model):
    wrapped = laq.apply(model, laq.uniform(model, "kmeans", 3))
    wrapped.compile("sgd", "mse")
    wrapped.fit(IMAGES, np.ones((4, 5)), verbose=0)
    stripped = laq.strip(wrapped)
    assert np.array_equal(stripped(IMAGES), wrapped(IMAGES))
    assert np.unique(stripped.get_layer("dense").kernel).size <= 8
