"""The examples that adversarial training makes, of inputs of every rank."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.adapters import keras_module
from tf_laq.attacks.pgd import PGD
from tf_laq.training import AdversarialModel


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(64,), (8, 8), (8, 8, 1)])
@pytest.mark.parametrize("version", [2, 3])
def test_inputs_of_any_rank_are_perturbed_within_the_ball_where_gradients_are_no_numbers(version, shape, norm) -> None:
    keras = keras_module(version)
    network = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Lambda(lambda x: tf.pow(tf.pow(x, 0.5), 2.0)),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    images = np.random.default_rng(0).random((6, *shape)).round().astype(np.float32)
    labels = np.arange(6) % 3
    model = AdversarialModel(network, PGD(epsilon=0.3, norm=norm, steps=4), clean_fraction=0.5)
    examples = model.perturb(images, labels, 0).numpy()
    changes = (examples - images).reshape(6, -1)
    assert np.isfinite(examples).all()
    assert np.linalg.norm(changes, axis=1, ord=2 if norm == "l2" else np.inf).max() <= 0.3 + 1e-6
    assert (np.abs(changes[images.reshape(6, -1) == 0.0]) > 1e-3).any()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(images, labels, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
