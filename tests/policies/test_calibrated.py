"""The calibrated policy: its measurements are divergences that are known, and its plan the best by them that fits."""

import itertools
import math

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings, strategies as st

import tf_laq as laq
from tf_laq import datasets, policies, quantizers, training
from tf_laq.adapters import keras_module
from tf_laq.attacks import PGD, half_adversarial
from tf_laq.policies import Budget, Calibrated, Limit
from tf_laq.policies.data_driven.calibrated import DivergenceCost
from tf_laq.policies.data_driven.divergence import LARGEST, Divergence
from tf_laq.policies.data_driven.statistics import MatchedStatistics
from tf_laq.sensitivity import TensorSensitivity

random = np.random.default_rng(0)
IMAGES = random.random((12, 3, 3, 1)).astype(np.float32)
LIMIT = Limit(average_bits=4)


def two_layers(keras, activation=None):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((3, 3, 1)),
            layers.Flatten(),
            layers.Dense(6, "tanh", name="hidden"),
            layers.Dense(4, activation, name="out"),
        ]
    )


def subclassed(keras):
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten = keras.layers.Flatten()
            self.out = keras.layers.Dense(4, name="out")

        def call(self, images, training=None):
            return self.out(self.flatten(images))

        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            return cls()

    model = Classifier()
    model(IMAGES)
    return model


@pytest.fixture(params=[2, 3])
def keras(request):
    return keras_module(request.param)


def settings_of(plan):
    return {(entry.layer, entry.weight): entry.make_quantizer() for entry in plan.entries}


def numbers_in(plan):
    """Return the divergence of the whole plan and the sum of the single ones, as its description tells them."""
    told = plan.policy.rpartition("KL divergence ")[2].rstrip(")")
    together, alone = told.split(", the sum over its tensors one by one ")
    return float(together.partition(" ")[0]), float(alone)


def test_the_divergence_is_that_between_the_class_probabilities_of_both_networks():
    model = tf_keras.Sequential([tf_keras.Input((1, 1, 2)), tf_keras.layers.Flatten()])
    model.add(tf_keras.layers.Dense(2, use_bias=False, name="out"))
    # Of an image of ones both logits are 1 before, and different ones after: log with 2 bits rounds 0.25 to 0.
    model.set_weights([np.array([[0.75, 0.5], [0.25, 0.5]])])
    setting = quantizers.Log(2)
    quantized = setting.quantize(np.array([[0.75, 0.5], [0.25, 0.5]]))
    (z, other) = quantized.sum(0)
    q = 1 / (1 + math.exp(other - z))
    expected = 0.5 * math.log(0.5 / q) + 0.5 * math.log(0.5 / (1 - q))
    assert expected > 0.01
    divergence = Divergence(model, np.ones((3, 1, 1, 2), np.float32))
    assert divergence({("out", "kernel"): setting}) == pytest.approx(expected, rel=1e-5)
    assert divergence({}) == 0.0


@settings(max_examples=10)
@given(st.lists(st.sampled_from(quantizers.candidates(["linear", "kmeans", "log"], 5)), min_size=2, max_size=2))
def test_a_divergence_is_never_negative_and_leaves_the_model_and_later_ones_as_they_were(chosen):
    model = DIVERGENCE_MODEL
    before = [value.copy() for value in model.get_weights()]
    plan = dict(zip([("hidden", "kernel"), ("out", "kernel")], chosen, strict=True))
    found = DIVERGENCE(plan)
    assert 0.0 <= found <= LARGEST
    assert DIVERGENCE(plan) == found
    assert DIVERGENCE({}) == 0.0
    assert all(np.array_equal(now, then) for now, then in zip(model.get_weights(), before, strict=True))


DIVERGENCE_MODEL = two_layers(tf_keras)
DIVERGENCE = Divergence(DIVERGENCE_MODEL, IMAGES)


def normalised(keras):
    layers = [keras.layers.Flatten(), keras.layers.Dense(9, use_bias=False, name="hidden")]
    after = [keras.layers.BatchNormalization(), keras.layers.Dense(3, "relu"), keras.layers.Dense(2, name="out")]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3, 3, 1)), *layers, *after])
    layers[1].set_weights([np.eye(9) * 0.75])
    after[0].set_weights([np.full(9, value) for value in (1.5, 0.1, 0.2, 0.3)])
    return model


def test_a_change_that_matched_statistics_take_away_costs_nothing(keras):
    model = normalised(keras)
    divergence = Divergence(model, IMAGES)
    setting = {("hidden", "kernel"): quantizers.Log(2)}  # It makes 1 of 0.75 everywhere.
    assert divergence(setting) == pytest.approx(0, abs=1e-5)
    assert divergence.unmatched(setting) > 1e-3
    assert divergence({}) == pytest.approx(0, abs=1e-6)
    assert divergence.unmatched({}) == 0.0
    plan = laq.search(model, policy=Calibrated(IMAGES, limit=LIMIT), progress=False)
    assert "with matched statistics and" in plan.policy


def test_the_statistics_are_matched_in_the_order_of_the_layers_with_their_gain_and_epsilon(keras):
    model = normalised(keras)
    statistics = MatchedStatistics(model, IMAGES)
    dense, norm = model.layers[1], model.layers[2]
    before, kernel = np.asarray(model(IMAGES)), np.asarray(dense.kernel)
    with statistics.in_every_call():
        dense.kernel.assign(kernel * 3)
        np.testing.assert_allclose(model(IMAGES), before, atol=1e-5)
    assert np.std(np.asarray(norm.moving_variance) / (9 * (0.3 + norm.epsilon) - norm.epsilon)) < 1e-5
    statistics.restore()
    assert np.allclose(norm.moving_variance, 0.3)


def test_a_normalisation_that_is_called_twice_stays_as_it_is(keras):
    images, norm = keras.Input((3, 3, 1)), keras.layers.BatchNormalization()
    model = keras.Model(images, keras.layers.Flatten()(norm(norm(images))))
    assert MatchedStatistics(model, IMAGES).layers == []


def test_probabilities_count_as_the_logits_that_they_were_made_of(keras):
    setting = {("hidden", "kernel"): quantizers.Linear(2)}
    logits, probabilities = (Divergence(two_layers(keras, activation), IMAGES) for activation in (None, "softmax"))
    assert probabilities(setting) == pytest.approx(logits(setting), rel=1e-3)


def test_images_whose_outputs_are_not_finite_count_as_the_largest_divergence(keras):
    class Inverse(keras.layers.Layer):
        def call(self, values):
            return 1 / values

    layers = [keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False, name="out")]
    model = keras.Sequential([*layers, Inverse()])
    model.layers[1].set_weights([np.repeat([[1.0, 0.1]], 9, axis=0)])
    # The step of linear with 2 bits is the largest weight, and 0.1 becomes 0.
    assert Divergence(model, IMAGES)({("out", "kernel"): quantizers.Linear(2)}) == pytest.approx(LARGEST)


@pytest.mark.parametrize("limit", [LIMIT, Limit(max_bytes=30)], ids=str)
def test_the_plan_fits_its_limit_and_tells_what_it_costs(keras, limit):
    model = two_layers(keras)
    plan = laq.search(model, policy=Calibrated(IMAGES, limit=limit), progress=False)
    assert plan.bytes <= 30 if limit.max_bytes else plan.average_bits <= 4
    divergence = Divergence(model, IMAGES)
    together, alone = numbers_in(plan)
    assert together == pytest.approx(divergence(settings_of(plan)), rel=0.01)
    assert alone == pytest.approx(sum(divergence({key: q}) for key, q in settings_of(plan).items()), rel=0.01)
    assert plan.policy.startswith(f"calibrated ({limit}; ")


@pytest.mark.parametrize("bits", [2.5, 3, 3.5, 4, 5])
def test_the_sum_is_never_above_that_of_the_plan_of_budget_and_near_the_least_there_is(bits):
    model, limit = two_layers(tf_keras), Limit(average_bits=bits)
    divergence = Divergence(model, IMAGES)

    def alone(plan):
        return sum(divergence({key: setting}) for key, setting in settings_of(plan).items())

    calibrated = laq.search(model, policy=Calibrated(IMAGES, limit=limit), progress=False)
    budget = laq.search(model, policy=Budget(limit=limit), progress=False)
    assert alone(calibrated) <= alone(budget) + 1e-9
    best = min(
        sum(divergence({key: setting}) for key, setting in zip(settings_of(budget), choice, strict=True))
        for choice in itertools.product(quantizers.candidates(None, 8), repeat=2)
        if sum(q.bits * e.size for q, e in zip(choice, budget.entries, strict=True)) <= bits * budget.weights
    )
    assert alone(calibrated) <= 1.25 * best + 1e-6


def test_what_was_not_measured_counts_half_of_what_its_error_predicts():
    model = two_layers(tf_keras)
    tensor = TensorSensitivity(laq.adapters.adapter_of(model).find_weights(model)[0][0])
    cost = DivergenceCost(Divergence(model, IMAGES))
    near, far = quantizers.Linear(4), quantizers.Linear(2)
    assert cost(tensor, near) == policies.COSTS["guarded"](tensor, near)
    measured = cost.measured(("hidden", "kernel"), far)
    assert cost(tensor, far) == measured > 0
    ratio = tensor.error_norm(near) / tensor.error_norm(far)
    assert cost(tensor, near) == pytest.approx(measured * ratio**2 / 2)


def test_layers_set_by_hand_are_part_of_the_whole_plan_and_are_not_chosen():
    model = two_layers(tf_keras)
    policy = Calibrated(IMAGES, limit=LIMIT)
    plan = laq.search(model, policy=policy, overrides={"hidden": "linear:2"}, progress=False)
    assert plan.entries[0].bits == 2
    assert plan.average_bits <= 4
    assert numbers_in(plan)[0] == pytest.approx(Divergence(model, IMAGES)(settings_of(plan)), rel=0.01)
    everything = laq.search(model, policy=policy, overrides={"*": "linear:4"}, progress=False)
    assert [entry.bits for entry in everything.entries] == [4, 4]


def test_a_tensor_that_changes_no_prediction_gets_the_fewest_bits(keras):
    model = two_layers(keras)
    model.layers[-2].bias.assign([50.0] * 6)  # Its tanh is 1 whatever the kernel is.
    policy = Calibrated(IMAGES, limit=LIMIT, quantizers=("linear",))
    assert [entry.bits for entry in laq.search(model, policy=policy, progress=False).entries] == [1, 8]


@pytest.mark.parametrize("activation", ["softmax", None])
def test_models_of_probabilities_and_of_logits_are_attacked(keras, activation):
    policy = Calibrated(IMAGES, limit=LIMIT, attack=PGD(epsilon=0.1, steps=2))
    plan = laq.search(two_layers(keras, activation), policy=policy, progress=False)
    assert plan.average_bits <= 4


def test_subclassed_models_are_measured(keras):
    model = subclassed(keras)
    plan = laq.search(model, policy=Calibrated(IMAGES, limit=LIMIT, attack=PGD(epsilon=0.1, steps=2)), progress=False)
    (entry,) = plan.entries
    assert entry.bits <= 4
    together, alone = numbers_in(plan)
    assert together == alone


def several_inputs(keras, form):
    left, right = (keras.Input((3, 3, 1), name=name) for name in ("left", "right"))
    out = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Add()([left, right])))
    return keras.Model({"left": left, "right": right} if form == "dict" else [left, right], out)


@pytest.mark.parametrize("form", ["list", "dict"])
def test_a_model_of_several_inputs_is_refused_with_their_names(keras, form):
    with pytest.raises(laq.InputError, match="model: expected one input, the images. Received: the inputs left, right"):
        laq.search(several_inputs(keras, form), policy=Calibrated(IMAGES, limit=LIMIT), progress=False)


def test_models_that_are_not_built_or_have_several_outputs_are_refused(keras):
    policy = Calibrated(IMAGES, limit=LIMIT)
    with pytest.raises(laq.InputError, match="model: expected a built model"):
        laq.search(keras.Sequential([keras.layers.Dense(2)]), policy=policy)
    images = keras.Input((3, 3, 1))
    flat = keras.layers.Flatten()(images)
    with pytest.raises(laq.InputError, match="model: expected one output. Received: the outputs"):
        laq.search(keras.Model(images, [keras.layers.Dense(2)(flat), keras.layers.Dense(3)(flat)]), policy=policy)


def test_settings_out_of_range_are_refused():
    with pytest.raises(laq.InputError, match="max_bits: expected a whole number"):
        Calibrated(IMAGES, limit=LIMIT, max_bits=0)
    with pytest.raises(laq.InputError, match="seed: expected"):
        Calibrated(IMAGES, limit=LIMIT, seed=-1)
    with pytest.raises(laq.InputError, match="limit: expected enough for the narrowest"):
        laq.search(two_layers(tf_keras), policy=Calibrated(IMAGES, limit=Limit(average_bits=0.5)), progress=False)


def test_on_images_that_it_did_not_see_its_predictions_change_no_more_than_those_of_budget(tmp_path):
    data, attack = datasets.load("digits"), PGD(epsilon=0.15, steps=10)
    model = training.trained_model("digits", "plain", tmp_path / "digits.keras", seed=0)
    policy = Calibrated(data.train.images[:64], limit=Limit(average_bits=3), attack=attack)
    plans = [
        laq.search(model, policy=chosen, progress=False) for chosen in (policy, Budget(limit=Limit(average_bits=3)))
    ]
    held_out = Divergence(model, half_adversarial(model, data.test.images[:128], attack))
    calibrated, budget = (held_out(settings_of(plan)) for plan in plans)
    assert calibrated <= budget
