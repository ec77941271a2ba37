"""HAWQ-style and QUANOS-style selections on models whose derivatives and outputs are known."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq import policies
from tf_laq.adapters import keras_module, logits_function
from tf_laq.attacks.pgd import PGD
from tf_laq.policies import BitsBySensitivity, Limit
from tf_laq.policies.data_driven.hawq import hessian_traces, squared_gradients
from tf_laq.policies.data_driven.noise_sensitivity import noise_sensitivities

random = np.random.default_rng(0)
IMAGES = random.random((20, 3, 3, 1)).astype(np.float32)
LABELS = random.integers(0, 4, 20)


def two_layers(keras, activation=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.layers.Input((3, 3, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(6, "tanh", name="hidden"),
            keras.layers.Dense(4, activation, name="out"),
        ]
    )


@pytest.fixture(params=[2, 3])
def model(request):
    return two_layers(keras_module(request.param))


def softmax_regression_trace(model):
    """The trace of the Hessian at the last kernel: mean of ||a||^2 * (1 - ||p||^2) over the examples."""
    hidden = np.tanh(IMAGES.reshape(20, 9) @ np.asarray(model.layers[-2].kernel) + np.asarray(model.layers[-2].bias))
    logits = hidden @ np.asarray(model.layers[-1].kernel) + np.asarray(model.layers[-1].bias)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.mean(np.square(hidden).sum(1) * (1 - np.square(p).sum(1)))


def test_hutchinsons_estimate_is_near_the_trace_of_the_hessian(model):
    found = hessian_traces(model, IMAGES, LABELS, samples=30, progress=False)
    assert list(found) == [("hidden", "kernel"), ("out", "kernel")]
    assert found["out", "kernel"] == pytest.approx(softmax_regression_trace(model), rel=0.2)


def test_the_gradient_is_that_of_the_cross_entropy_for_logits_and_for_probabilities():
    logits, probabilities = two_layers(tf_keras), two_layers(tf_keras, "softmax")
    found = [squared_gradients(model, IMAGES, LABELS) for model in (logits, probabilities)]
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    with tf.GradientTape() as tape:
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, logits(IMAGES))
    gradient = tape.gradient(loss, logits.layers[-1].kernel)
    assert found[0]["out", "kernel"] == pytest.approx(float(tf.reduce_sum(gradient**2)), rel=1e-4)


@pytest.mark.parametrize("curvature", ["hessian", "gradient"])
def test_a_layer_without_curvature_gets_the_fewest_bits_of_a_budget(curvature):
    model = two_layers(tf_keras)
    model.layers[-2].bias.assign([50.0] * 6)  # Its tanh is 1 whatever the kernel is.
    settings = {"limit": Limit(average_bits=4), "curvature": curvature, "samples": 2, "quantizers": ("linear",)}
    plan = laq.search(model, policy=policies.Hawq(IMAGES, LABELS, **settings), progress=False)
    assert [entry.bits for entry in plan.entries] == [1, 8]
    assert f"HAWQ-style {curvature}" in plan.policy


def test_noise_sensitivity_is_the_relative_change_of_each_layers_output(model):
    found = noise_sensitivities(model, IMAGES, LABELS, attack=PGD(epsilon=0.1, steps=3))
    adversarial = PGD(epsilon=0.1, steps=3)(logits_function(model), IMAGES, LABELS)

    def outputs(images):
        flat = images.reshape(20, 9)
        hidden = np.tanh(flat @ np.asarray(model.layers[-2].kernel) + np.asarray(model.layers[-2].bias))
        return {"hidden": hidden, "out": np.asarray(model(images))}

    clean, attacked = outputs(IMAGES), outputs(adversarial)
    for layer, value in found.items():
        change = np.linalg.norm(attacked[layer] - clean[layer], axis=1) / np.linalg.norm(clean[layer], axis=1)
        assert value == pytest.approx(change.mean(), rel=1e-4)
    assert "call" not in vars(model.layers[-1])


def test_bits_follow_the_noise_sensitivity_in_proportion():
    model = two_layers(tf_keras)
    policy = BitsBySensitivity(sensitivities={"hidden": 0.2, "out": 0.8}, initial_bits=6, quantizers=("linear",))
    assert [entry.bits for entry in laq.search(model, policy=policy).entries] == [2, 6]
    with pytest.raises(laq.InputError, match="sensitivities: expected one or more layers"):
        BitsBySensitivity(sensitivities={})


def test_ans_plans_a_model_end_to_end():
    model = two_layers(tf_keras)
    policy = policies.NoiseSensitivity(IMAGES, LABELS, attack=PGD(epsilon=0.1, steps=2), initial_bits=5)
    plan = laq.search(model, policy=policy)
    assert max(entry.bits for entry in plan.entries) == 5
    assert "QUANOS-style" in plan.policy
