from __future__ import annotations

import dataclasses
import math

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tf_laq import datasets, models
from tf_laq.errors import InputError
from tf_laq.training import RunningStatisticsWarning, fitting, recipe, train
from tf_laq.training.copying import with_precision


@pytest.fixture(scope="module")
def short():
    """Return the digits recipe cut to eight epochs."""
    return dataclasses.replace(recipe("digits"), epochs=8)


@pytest.fixture(scope="module")
def trained(digits, short):
    """Return a model trained with seed 1 and the logs of its epochs."""
    logs: list[dict] = []
    log = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda _, epoch: logs.append(epoch))
    return train(digits, short, seed=1, callbacks=[log]), logs


def test_training_gives_a_plain_float32_model_that_classifies(trained, digits, accuracy) -> None:
    model, _ = trained
    assert type(model) is type(models.build("digits_cnn"))
    assert {weight.dtype for weight in model.weights} == {tf.float32}
    assert accuracy(model, digits.test) > 0.8


def test_the_logs_of_an_epoch_hold_clean_and_robust_validation_accuracy(trained) -> None:
    _, logs = trained
    assert len(logs) == 8
    assert all({"val_accuracy", "val_robust_accuracy"} <= set(log) for log in logs)


def test_another_seed_gives_an_independent_model(trained, digits, short) -> None:
    other = train(digits, dataclasses.replace(short, epochs=1), seed=2)
    kernels = [model.get_layer("conv2").get_weights()[0].ravel() for model in (trained[0], other)]
    assert abs(np.corrcoef(*kernels)[0, 1]) < 0.2


class PowerCutError(Exception):
    """Ends a run in the middle."""


@pytest.mark.slow
def test_a_seed_fixes_the_weights_even_of_a_run_that_was_interrupted(trained, digits, short, tmp_path) -> None:
    def cut(epoch: int) -> None:
        if epoch == 5:
            raise PowerCutError

    power_cut = tf_keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: cut(epoch))
    with pytest.raises(PowerCutError):
        train(digits, short, seed=1, checkpoint=tmp_path, callbacks=[power_cut])
    others = ({"seed": 2}, {"recipe": dataclasses.replace(short, learning_rate=0.5)})
    for changes in others:
        with pytest.raises(InputError, match=r"state\.npz.*of the same data, recipe, seed and network.*of another"):
            train(digits, **{"recipe": short, "seed": 1, "checkpoint": tmp_path, **changes})
    resumed = train(digits, short, seed=1, checkpoint=tmp_path)
    for a, b in zip(resumed.get_weights(), trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_recipe_without_an_attack_trains_on_the_images_as_they_are(digits, accuracy) -> None:
    logs: list[dict] = []
    log = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda _, epoch: logs.append(epoch))
    model = train(digits, dataclasses.replace(recipe("digits", "plain"), epochs=8), callbacks=[log])
    assert accuracy(model, digits.test) > 0.8
    assert all("val_accuracy" in log and "val_robust_accuracy" not in log for log in logs)


@pytest.mark.parametrize("keras", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_mixed_precision_gives_a_float32_model_that_classifies(digits, short, accuracy, keras: int) -> None:
    mixed = dataclasses.replace(short, precision="mixed_bfloat16")
    model = train(digits, mixed, keras=keras)
    assert {tf.as_dtype(weight.dtype) for weight in model.weights} == {tf.float32}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert accuracy(model, digits.test) > 0.8


def test_only_the_logits_of_mixed_precision_are_float32() -> None:
    mixed = with_precision(models.build("digits_cnn"), "mixed_bfloat16")
    assert {layer.compute_dtype for layer in mixed.layers[1:-1]} == {"bfloat16"}
    assert mixed.layers[-1].compute_dtype == "float32"


def epochs_of(split, chosen, begun: int = 0, seed: int = 0, count: int = 1):
    """Return the images and labels of each of some epochs."""
    steps = math.ceil(len(split) / chosen.batch_size)
    batches = fitting._training_batches(split, chosen, begun, seed)(tf.distribute.InputContext())
    held = list(batches.take(count * steps).as_numpy_iterator())
    return [
        tuple(np.concatenate(part) for part in zip(*held[first : first + steps], strict=True))
        for first in range(0, len(held), steps)
    ]


@pytest.mark.parametrize("begun", [0, 1])
def test_an_epoch_holds_every_image_once_with_its_label(digits, short, begun: int) -> None:
    ((images, labels),) = epochs_of(digits.train, short, begun)
    seen = sorted(zip((image.tobytes() for image in images), labels, strict=True))
    split = digits.train
    assert seen == sorted(zip((image.tobytes() for image in split.images), split.labels, strict=True))


def test_the_order_changes_with_the_epoch_and_the_seed(digits, short) -> None:
    def orders(begun: int, seed: int, count: int = 1) -> list[list[int]]:
        return [labels.tolist() for _, labels in epochs_of(digits.train, short, begun, seed, count)]

    assert orders(0, 0) == orders(0, 0)
    assert orders(0, 0) != orders(1, 0)
    assert orders(0, 0) != orders(0, 1)
    assert orders(0, 0, count=2) == orders(0, 0) + orders(1, 0)


def test_crop_and_flip_moves_an_image_by_at_most_four_pixels_and_mirrors_some() -> None:
    image = np.random.default_rng(0).random((12, 10, 2), dtype=np.float32) + 0.1
    moved = fitting._crop_and_flip(tf.constant(np.repeat(image[None], 64, axis=0)), tf.constant([0, 1], tf.int64))
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crops = {(r, c): padded[r : r + 12, c : c + 10] for r in range(9) for c in range(9)}
    known = {crop.tobytes(): (*at, False) for at, crop in crops.items()}
    known |= {crop[:, ::-1].tobytes(): (*at, True) for at, crop in crops.items()}
    found = [known[one.tobytes()] for one in moved.numpy()]
    assert len(set(found)) > 32
    assert 16 < sum(mirrored for *_, mirrored in found) < 48


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    chosen = dataclasses.replace(recipe("digits"), learning_rate=0.5, learning_rate_warmup=0.25)
    rate = fitting._optimizer(tf_keras, chosen, 100)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 25, 100)] == pytest.approx([0.0, 0.1, 0.5, 0.0])
    constant_start = dataclasses.replace(chosen, learning_rate_warmup=0.0)
    assert float(fitting._optimizer(tf_keras, constant_start, 100)._learning_rate(0)) == pytest.approx(0.5)


def test_weight_decay_shrinks_kernels_and_leaves_biases() -> None:
    chosen = dataclasses.replace(recipe("cifar10"), learning_rate=0.1, learning_rate_warmup=0.0, weight_decay=0.5)
    layer = tf_keras.layers.Dense(2, bias_initializer="ones", kernel_initializer="ones")
    layer.build((None, 3))
    optimizer = fitting._optimizer(tf_keras, chosen, 1000)
    optimizer.apply_gradients((tf.zeros_like(weight), weight) for weight in layer.weights)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(kernel, 1.0 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1.0)


def test_a_recipe_for_other_images_is_refused(digits) -> None:
    with pytest.raises(InputError, match=r"recipe for digits.*mnist_cnn"):
        train(digits, recipe("mnist"))


def cnn(module, shape=(8, 8, 1), classes=10, first=None):
    """Return a network of a user's own."""
    layers = module.layers
    return module.Sequential(
        [
            module.Input(shape),
            *([first] if first else []),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dense(classes),
        ]
    )


@pytest.mark.parametrize("module", [tf_keras, keras3], ids=["tf_keras", "keras"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_network_of_the_users_own_is_trained_and_stays_as_it_is(module, norm, digits) -> None:
    given = cnn(module)
    before = [weight.copy() for weight in given.get_weights()]
    own = dataclasses.replace(digits, name="pets")
    chosen = dataclasses.replace(recipe(own, epsilon=0.1, norm=norm), epochs=1)
    model = train(own, chosen, model=given)
    assert type(model) is type(given)
    for a, b in zip(given.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, r"model: expected a Keras model of images of shape \(8, 8, 1\), or digits_cnn"),
        ({"model": cnn(tf_keras, (9, 8, 1))}, r"a model of images of shape \(8, 8, 1\). .*one of shape \(9, 8, 1\)"),
        ({"model": cnn(keras3, classes=7)}, r"model: expected logits of 10 classes. Received: 7 outputs"),
        ({"model": cnn(keras3, first=keras3.layers.Rescaling(1 / 255))}, r"a model of images in \[0, 1\]"),
        ({"model": "mnist_cnn"}, r"a network for images of \(8, 8, 1\)"),
        ({"model": "lenet"}, r"name: expected one of"),
        ({"model": max}, r"model: expected a tf_keras or Keras 3 model"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_it_is_trained(change, message, digits) -> None:
    own = dataclasses.replace(digits, name="pets")
    with pytest.raises(InputError, match=message):
        train(own, recipe(own, epsilon=0.1), **change)


def test_data_without_training_images_are_refused(digits) -> None:
    nothing = dataclasses.replace(digits, train=datasets.Split(digits.train.images[:0], digits.train.labels[:0]))
    with pytest.raises(InputError, match="data set digits: expected training images. Received: none"):
        train(nothing)


def test_images_held_as_bytes_come_in_the_same_batches(digits, short) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    held = datasets.Split(datasets.ScaledImages(pixels), digits.train.labels[:20])
    whole = datasets.Split(held.images[:], held.labels)
    for (a, _), (b, _) in zip(*(epochs_of(split, short) for split in (held, whole)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("keras", [pytest.param(tf_keras, marks=pytest.mark.slow), keras3])
def test_a_training_too_short_for_the_running_statistics_is_told(digits, short, keras) -> None:
    def network(momentum):
        layers = [keras.layers.BatchNormalization(momentum=momentum, name="bn"), keras.layers.Flatten()]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(10)])

    recipe = dataclasses.replace(short, epochs=1)
    with pytest.warns(RunningStatisticsWarning, match=r"Layer 'bn': after the \d+ steps of this training, \d\d % of"):
        trained = train(digits, recipe, model=network(0.999))
    train(digits, recipe, model=trained)  # Those are its own by now.
    train(digits, dataclasses.replace(recipe, epochs=2), model=network(0.5))


def test_a_data_set_without_validation_images_trains(short) -> None:
    everything = datasets.load("digits", validation_fraction=0.0)
    train(everything, dataclasses.replace(short, epochs=1))
