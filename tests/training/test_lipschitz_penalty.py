from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq import datasets, lipschitz
from tf_laq.adapters import keras_module
from tf_laq.attacks.pgd import PGD
from tf_laq.errors import InputError
from tf_laq.training import AdversarialModel, add_lipschitz_penalty, recipe, train
from tf_laq.training.lipschitz_penalty import orthogonality

LAYOUTS = [
    pytest.param(lipschitz.dense(), (5, 3), id="dense"),
    pytest.param(lipschitz.dense(), (3, 5), id="wide"),
    pytest.param(lipschitz.conv2d(), (2, 2, 2, 3), id="convolution"),
    pytest.param(lipschitz.conv2d(groups=2), (1, 2, 2, 8), id="groups"),
    pytest.param(lipschitz.depthwise_convolution(2), (2, 2, 3, 1), id="depthwise"),
    pytest.param(lipschitz.transposed_convolution(2), (2, 2, 3, 4), id="transposed"),
]


def by_numpy(kernel: np.ndarray, layout: lipschitz.MatrixLayout) -> float:
    return sum(float(((w.T @ w - np.eye(w.shape[1])) ** 2).sum()) for w in layout.matrices(kernel).astype(np.float64))


@pytest.mark.parametrize(("layout", "shape"), LAYOUTS)
def test_the_penalty_is_the_distance_of_the_gram_matrix_from_the_identity(layout, shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert float(orthogonality(tf.constant(kernel), layout)) == pytest.approx(by_numpy(kernel, layout), rel=1e-5)


@pytest.mark.parametrize(("layout", "shape"), LAYOUTS)
def test_its_gradient_is_that_of_finite_differences(layout, shape: tuple[int, ...]) -> None:
    kernel = tf.Variable(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    with tf.GradientTape() as tape:
        penalty = orthogonality(kernel, layout)
    gradient = tape.gradient(penalty, kernel).numpy().ravel()
    flat, step = kernel.numpy().ravel(), 1e-3
    for place in range(0, flat.size, 5):
        shift = np.zeros_like(flat)
        shift[place] = step
        above, below = (by_numpy((flat + sign * shift).reshape(shape), layout) for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / (2 * step), rel=1e-2, abs=1e-2)


def test_an_orthogonal_kernel_has_no_penalty() -> None:
    kernel, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 4)))
    assert float(orthogonality(tf.constant(kernel, tf.float32), lipschitz.dense())) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("adversarial", [False, True])
def test_a_training_step_follows_the_gradient_of_loss_and_penalty(version: int, adversarial: bool) -> None:
    keras = keras_module(version)
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)])
    kernel = model.get_weights()[0]
    add_lipschitz_penalty(model, 0.2)
    assert float(sum(model.losses)) == pytest.approx(0.1 * by_numpy(kernel, lipschitz.dense()), rel=1e-5)
    images, labels = np.zeros((4, 2, 2, 1), np.float32), np.zeros(4, np.int64)  # Black: the cross-entropy is flat.
    fitted = AdversarialModel(model, PGD(epsilon=0.0, steps=1)) if adversarial else model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fitted.compile(keras.optimizers.SGD(1.0), loss)
    fitted.fit(images, labels, verbose=0)
    gradient = 2 * kernel @ (kernel.T @ kernel - np.eye(3))
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.2 * gradient, atol=1e-5)


@pytest.mark.parametrize("version", [2, 3])
def test_a_recipe_with_the_penalty_trains_kernels_towards_orthogonal_ones(version: int) -> None:
    digits = datasets.load("digits", validation_fraction=0.0)
    chosen = dataclasses.replace(recipe("digits", "plain"), epochs=2, lipschitz_penalty=0.1)
    model = train(digits, chosen, keras=version)
    first = laq.models.build("digits_cnn", keras=version, seed=0)
    before, after = (by_numpy(m.get_layer("dense1").get_weights()[0], lipschitz.dense()) for m in (first, model))
    assert after < 0.5 * before
    assert model.losses == []


def test_a_wrong_factor_or_model_is_refused() -> None:
    model = laq.models.build("digits_cnn", width=2)
    with pytest.raises(InputError, match="beta"):
        add_lipschitz_penalty(model, -1.0)
    with pytest.raises(InputError, match="a float model"):
        add_lipschitz_penalty(laq.apply(model, laq.uniform(model, "linear", 3, progress=False)), 1e-3)
