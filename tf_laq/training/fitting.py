"""Training a network by a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_laq import datasets, models
from tf_laq._internal import archives
from tf_laq._internal.progress import progress_bar
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of, whole
from tf_laq.adapters import keras_module, keras_version, plan_of
from tf_laq.attacks.base import Logits
from tf_laq.attacks.pgd import PGD
from tf_laq.datasets import Dataset, ScaledImages, Split
from tf_laq.errors import InputError
from tf_laq.training import recipes
from tf_laq.training.adversarial import AdversarialModel
from tf_laq.training.checkpoints import Checkpoint
from tf_laq.training.copying import check_gives_logits, copy_of, first_outputs, with_precision
from tf_laq.training.devices import BatchesOf, begin_alike, endless, parts, scope_of, statistics_averager
from tf_laq.training.lipschitz_penalty import add_lipschitz_penalty
from tf_laq.training.overfitting import ROBUST_ACCURACY
from tf_laq.training.recipes import Recipe
from tf_laq.training.requirements import check_steps
from tf_laq.version import __version__

_VALIDATION_IMAGES = 1000


@typed
def train(
    dataset: str | Dataset,
    recipe: str | Recipe = "fast",
    *,
    model: Any = None,
    keras: int = 2,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    progress: bool = True,
) -> Any:
    """Train a network, adversarially if the recipe has an attack.

    The seed fixes the initial weights, the order of the images and the random starts of the attack, so on one
    machine the weights come out the same. All of it is keyed by the optimizer's step: with a checkpoint, a run
    that was interrupted ends with the weights of one that was not.

    Args:
        dataset: What `datasets.load` returned, or its name or path.
        recipe: A recipe, or the name of one for this data set; for data without recipes of their own,
            `recipe(dataset, epsilon=...)`.
        model: The network in place of the recipe's: a Keras model from images in [0, 1] to logits, which stays as it
            is, and from whose weights the training goes on; or the name of one for `models.build`.
        keras: The version of Keras that a network is built with, 2 or 3; that of a given model is its own.
        seed: At least 0. Two seeds give two independent models, as gray-box attacks need.
        callbacks: Further callbacks of that Keras; in the logs of each epoch they see "val_accuracy" and, in
            adversarial training, "val_robust_accuracy" on at most 1,000 validation images.
        checkpoint: A folder to keep the state of the training in, renewed after each epoch. A training that finds its
            own there goes on from it, and refuses another's; it stays until you have saved the model and remove it. Of
            several workers, the first one writes and reads it.
        strategy: A `MirroredStrategy` for several devices of this machine, or, with a network of Keras 2, a
            `MultiWorkerMirroredStrategy` for workers that all make this call. They share each batch.
        progress: Show a bar; in files and pipes, a line a minute.

    Returns:
        The trained model, which outputs logits.

    Raises:
        InputError: Unknown names, no training images, images or classes that the network does not have, a strategy
            that it cannot be trained with, or a checkpoint of another training.
    """
    one_of("keras", keras, (2, 3))
    whole("seed", seed, minimum=0)
    dataset = datasets.load(dataset)
    recipe = recipes.recipe(dataset, recipe) if isinstance(recipe, str) else recipe
    network = new_network(dataset, recipe, model, keras=keras, seed=seed)
    settings = {"seed": seed, "callbacks": callbacks, "checkpoint": checkpoint, "progress": progress}
    train_network(network, dataset, recipe, strategy=strategy, **settings)
    return network


def train_network(
    network: Any, dataset: Dataset, recipe: Recipe, *, strategy: tf.distribute.Strategy | None = None, **settings: Any
) -> None:
    """Train a network in place as `train` does, with those of its arguments."""
    with scope_of(strategy, network):
        trained = with_precision(network, recipe.precision)
        if recipe.lipschitz_penalty:
            add_lipschitz_penalty(trained, recipe.lipschitz_penalty)
        fit(trained, dataset, recipe, **settings)
    network.set_weights(trained.get_weights())


def fit(
    model: Any,
    dataset: Dataset,
    recipe: Recipe,
    *,
    examples_from: Logits | None = None,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> None:
    """Fit a network in place by a recipe, whatever network the recipe names; its precision is the network's own.

    Arguments are those of `train`, and `examples_from` that of `AdversarialModel`.
    """
    module = keras_module(keras_version(model))
    for callback in callbacks:
        if not isinstance(callback, module.callbacks.Callback):
            expected = f"callbacks of {module.__name__}, as the model is"
            raise InputError("callbacks", expected=expected, received=repr(callback))
    steps = recipe.epochs * math.ceil(len(dataset.train) / recipe.batch_size)
    check_steps(model, steps)
    fitted = model if recipe.attack is None else _adversarial(model, recipe, steps, seed, examples_from)
    fitted.compile(
        optimizer=_optimizer(module, recipe, steps),
        loss=module.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    begin_alike(fitted)
    begun, kept = 0, []
    if checkpoint is not None:
        told = _told_apart(model, dataset, recipe, seed)
        state = Checkpoint(checkpoint, fitted, told, first_outputs(model, dataset))
        begun = state.restore()
        kept = [module.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: state.save(epoch + 1))]
        if begun == recipe.epochs:  # Keras 2 cannot fit for no epoch.
            return
    average = statistics_averager(fitted)
    averaged = module.callbacks.LambdaCallback(on_test_begin=average, on_epoch_end=average)
    validation = Split(dataset.validation.images[:_VALIDATION_IMAGES], dataset.validation.labels[:_VALIDATION_IMAGES])
    shared = fitted.distribute_strategy.distribute_datasets_from_function
    fitted.fit(
        shared(_training_batches(dataset.train, recipe, begun, seed)),
        initial_epoch=begun,
        epochs=recipe.epochs,
        steps_per_epoch=math.ceil(len(dataset.train) / recipe.batch_size),
        validation_data=shared(_validation_batches(validation, recipe.batch_size)) if len(validation) else None,
        validation_steps=math.ceil(len(validation) / recipe.batch_size) or None,
        callbacks=[_bar(module, dataset.name, recipe.epochs, progress), *callbacks, averaged, *kept],
        # The order of the images is that of the data set.
        shuffle=False,
        verbose=0,
    )


def new_network(dataset: Dataset, recipe: Recipe, given: Any = None, *, keras: int = 2, seed: int = 0) -> Any:
    """Return a network to be trained on a data set: a copy of the given one, or one that is built by its name.

    Raises:
        InputError: It does not fit the data set, or there is none.
    """
    if given is not None and not isinstance(given, str):
        check_gives_logits(given, dataset)
        return copy_of(given)
    name = recipe.model if given is None else given
    shape = dataset.train.images.shape[1:]
    if name is None:
        fitting = [known for known in models.names() if models.input_shape(known) == shape]
        expected = f"a Keras model of images of shape {shape}{''.join(f', or {known}' for known in fitting)}"
        raise InputError("model", expected=expected, received="none, and the recipe names none")
    expected_shape = models.input_shape(name)
    if shape != expected_shape:
        raise InputError(
            f"recipe for {dataset.name}",
            expected=f"a network for images of {shape}",
            received=f"{name}, which takes {expected_shape}",
        )
    options = recipe.model_options if name == recipe.model else {}
    model = models.build(name, keras=keras, seed=seed, **{"classes": len(dataset.classes), **options})
    check_gives_logits(model, dataset)
    return model


def _adversarial(model: Any, recipe: Recipe, steps: int, seed: int, examples_from: Logits | None) -> AdversarialModel:
    return AdversarialModel(
        model,
        PGD(**(recipe.attack or {})),
        warmup_steps=round(recipe.epsilon_warmup * steps),
        robust_accuracy=True,
        examples_from=examples_from,
        seed=seed,
    )


def _told_apart(model: Any, dataset: Dataset, recipe: Recipe, seed: int) -> str:
    """Return what tells a training that has not begun from others, as a SHA-256."""
    plan = plan_of(model)
    about: list[Any] = [dataclasses.asdict(recipe), dataset.train.sha256, seed, archives.sha256(model.get_weights())]
    return hashlib.sha256(json.dumps([*about, plan and plan.digest, __version__]).encode()).hexdigest()


def _optimizer(keras: Any, recipe: Recipe, steps: int) -> Any:
    warmup = round(recipe.learning_rate_warmup * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.learning_rate,
        steps - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    decay = recipe.weight_decay or None
    if recipe.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _training_batches(split: Split, recipe: Recipe, begun: int, seed: int) -> BatchesOf:
    """Return the batches of all epochs from one on, each in an order that seed and epoch decide."""
    read = _reader(split)

    def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            # tf.data's own shuffle would start again with the first epoch's order when a run is resumed.
            key = tf.stack([tf.constant(seed, tf.int64), number])
            order = tf.random.experimental.stateless_shuffle(tf.range(len(split)), key)
            batches = tf.data.Dataset.from_tensor_slices(order).batch(recipe.batch_size)
            return parts(batches, context).map(lambda rows, *weights: (key, rows, *weights))

        def batch(key: tf.Tensor, rows: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
            images, labels = read(rows)
            if recipe.augmentation == "crop_and_flip":
                images = _crop_and_flip(images, tf.random.fold_in(key, tf.cast(rows[0], tf.int64)))
            return images, labels, *weights

        return endless(tf.data.Dataset.counter(begun).flat_map(epoch).map(batch))

    return of_process


def _validation_batches(split: Split, batch_size: int) -> BatchesOf:
    """Return the batches of all images in their order, over and over."""
    read = _reader(split)

    def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = parts(tf.data.Dataset.range(len(split)).batch(batch_size), context)
        # All images count the same in an accuracy, however they are shared out.
        return endless(batches.map(lambda rows, *weights: (*read(rows), *map(tf.sign, weights))).repeat())

    return of_process


def _reader(split: Split) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return what reads the images and labels at some rows: from memory, or bytes from where they are held."""
    labels = tf.constant(split.labels)
    if not isinstance(split.images, ScaledImages):
        images = tf.constant(split.images)
        return lambda rows: (tf.gather(images, rows), tf.gather(labels, rows))
    pixels = split.images.pixels

    def read(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = tf.numpy_function(pixels.__getitem__, [rows], tf.uint8)
        chosen = tf.cast(tf.ensure_shape(chosen, (None, *pixels.shape[1:])), tf.float32) / 255.0
        return chosen, tf.gather(labels, rows)

    return read


def _crop_and_flip(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Shift every image by up to four pixels each way, with zeros coming in, and mirror half of them."""
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [4, 4], [4, 4], [0, 0]])
    count = tf.shape(images)[0]
    rows, columns = (
        tf.random.stateless_uniform([count, 1], tf.random.fold_in(key, stream), 0, 9, tf.int32) for stream in (0, 1)
    )
    mirrored = tf.random.stateless_uniform([count, 1], tf.random.fold_in(key, 2)) < 0.5
    across = tf.range(width)[None]
    across = columns + tf.where(mirrored, width - 1 - across, across)
    cropped = tf.gather(padded, rows + tf.range(height)[None], axis=1, batch_dims=1)
    return tf.gather(cropped, across[:, None] + tf.zeros([1, height, 1], tf.int32), axis=2, batch_dims=2)


def _bar(keras: Any, name: str, epochs: int, progress: bool) -> Any:
    """Return a callback with one bar over the epochs."""
    bar = progress_bar(shown=progress, total=epochs, desc=f"train {name}")

    def advance(epoch: int, logs: Any) -> None:
        logs = logs or {}
        shown = {"loss": logs.get("loss"), "clean": logs.get("val_accuracy")}
        shown["robust"] = logs.get(f"val_{ROBUST_ACCURACY}")
        bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items() if value is not None})
        bar.update(epoch + 1 - bar.n)

    return keras.callbacks.LambdaCallback(on_epoch_end=advance, on_train_end=lambda logs: bar.close())
