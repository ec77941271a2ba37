from __future__ import annotations

import os
import warnings

import keras
import pytest
import tf_keras

from tf_laq import datasets, models
from tf_laq.attacks.pgd import PGD
from tf_laq.training import AdversarialModel, CatastrophicOverfittingWarning
from tf_laq.training.overfitting import OverfittingWatch


def warned_at(epochs: list[tuple[float, float | None]], warmed_up: int = 0, **more: float) -> list[int]:
    """Return the epochs at which a watch warns, given their training losses and robust accuracies."""
    found: list[int] = []
    watch = OverfittingWatch(lambda: epoch >= warmed_up)
    for epoch, (loss, robust) in enumerate(epochs):
        logs = {"loss": loss, **more} if robust is None else {"loss": loss, "val_robust_accuracy": robust, **more}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watch.look(epoch, logs)
        found += [epoch] * len(caught)
    return found


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        pytest.param([(2.1, 0.18), (0.8, 0.0), (0.3, 0.0)], [1], id="at once, and said once"),
        pytest.param([(1.0, 0.45), (0.9, None), (0.8, 0.46), (0.7, 0.35), (0.6, 0.1)], [4], id="not each measured"),
        pytest.param([(1.0, 0.5), (0.9, 0.52), (0.5, 0.45), (0.2, 0.41)], [], id="ordinary overfitting"),
        pytest.param([(1.0, 0.5), (2.3, 0.1), (2.3, 0.1)], [], id="training broke down altogether"),
        pytest.param([(1.0, 0.1), (0.9, 0.02), (0.8, 0.0)], [], id="less than chance may do"),
        pytest.param([(1.0, None), (0.1, None)], [], id="nothing measured"),
    ],
)
def test_a_fall_of_the_robust_accuracy_against_a_falling_loss_is_said_once(epochs, expected) -> None:
    assert warned_at(epochs) == expected


@pytest.mark.parametrize("name", ["accuracy", "sparse_categorical_accuracy"])
def test_a_network_that_overfits_from_the_start_is_seen_once_epsilon_is_full(name: str) -> None:
    blind, seeing = [(1.0, 0.02), (0.9, 0.03), (0.8, 0.03)], [(1.0, 0.2), (0.9, 0.3), (0.8, 0.3)]
    assert warned_at(blind, **{name: 0.7}) == [0]
    assert warned_at(blind, warmed_up=2, **{name: 0.7}) == [2]
    assert warned_at(blind, **{name: 0.15}) == warned_at(seeing, **{name: 0.9}) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set, so MNIST is not at hand")
@pytest.mark.parametrize("version", [2, 3])
def test_training_on_single_steps_overfits_catastrophically_and_warns(version: int) -> None:
    data, module = datasets.load("mnist"), {2: tf_keras, 3: keras}[version]
    attack = PGD(epsilon=0.2, steps=1, step_size=0.2, random_start=False)
    model = AdversarialModel(models.build("mnist_cnn", keras=version, seed=0), attack, robust_accuracy=True)
    loss = module.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(module.optimizers.Adam(0.001), loss, metrics=["accuracy"])
    with pytest.warns(CatastrophicOverfittingWarning, match="the robust accuracy .* fell from") as caught:
        model.fit(
            data.train.images[:10_000],
            data.train.labels[:10_000],
            batch_size=128,
            epochs=6,
            shuffle=False,
            validation_data=(data.validation.images[:200], data.validation.labels[:200]),
            verbose=0,
        )
    assert len(caught) == 1


def test_validation_is_under_at_least_ten_steps_unless_told() -> None:
    network = models.build("digits_cnn", seed=0)
    for steps, expected in ((1, 10), (3, 10), (20, 20)):
        attack = PGD(epsilon=0.2, steps=steps, step_size=0.2)
        assert AdversarialModel(network, attack).validation_attack == PGD(epsilon=0.2, steps=expected)
    told = PGD(epsilon=0.1, steps=2)
    assert AdversarialModel(network, PGD(epsilon=0.2), validation_attack=told).validation_attack == told
