"""Training on several devices and by several workers gives the network that one device gives."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq import datasets
from tf_laq.adapters import keras_module, logits_function
from tf_laq.attacks import PGD
from tf_laq.errors import InputError
from tf_laq.training import AdversarialModel, devices, fine_tune, recipe, train
from tf_laq.training.checkpoints import epochs_behind

ROOT = Path(__file__).parents[2]
# TensorFlow cannot be given more devices once it has started.
TWO_DEVICES = """
import sys, tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.training import test_devices
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
getattr(test_devices, sys.argv[1])(strategy, *map(int, sys.argv[2:]))
"""
WORKER = """
import sys, tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from tests.training import test_devices
test_devices.work(strategy, sys.argv[1], int(sys.argv[2]))
"""
# Batches of 4, 4 and 1 images: of the last one, a device has nothing.
FEW = 9


def python(code, *arguments, **environment):
    # The threads of a process share out sums in ways of their own.
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **threads, **environment},
    )


def on_two_devices(function, *arguments):
    process = python(TWO_DEVICES, function.__name__, *arguments)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def first(count, epochs=2, **settings):
    """Return the first digits, and a recipe whose attack has no random start."""
    digits = datasets.load("digits")
    cut = {part: datasets.Split(*(values[:count] for values in vars(getattr(digits, part)).values())) for part in PARTS}
    plain = {"optimizer": "sgd", "learning_rate": 0.05, "attack": {"epsilon": 0.1, "steps": 1, "random_start": False}}
    chosen = dataclasses.replace(recipe("digits"), epochs=epochs, batch_size=4, **{**plain, **settings})
    return dataclasses.replace(digits, **cut), chosen


PARTS = ("train", "validation")


def network(k, *layers):
    k.utils.set_random_seed(0)
    return k.Sequential([k.Input((8, 8, 1)), *layers, k.layers.Flatten(), k.layers.Dense(10)])


def logs_of(k):
    logs: list[dict] = []
    return logs, k.callbacks.LambdaCallback(on_epoch_end=lambda _, epoch: logs.append(dict(epoch)))


def assert_same_weights(found, expected):
    for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("processes", [1, 3])
def test_the_replicas_share_the_rows_of_each_batch_and_its_mean(processes):
    batches = [np.arange(6), np.arange(6, 11), np.array([11])]
    held = [[] for _ in batches]
    for process in range(processes):
        context = tf.distribute.InputContext(processes, process, num_replicas_in_sync=3)
        rows = tf.data.Dataset.from_generator(lambda: batches, output_signature=tf.TensorSpec([None], tf.int64))
        parts = list(devices.parts(rows, context).as_numpy_iterator())
        for step, batch in enumerate(held):
            batch.extend(parts[step * 3 // processes : (step + 1) * 3 // processes])
    for batch, parts in zip(batches, held, strict=True):
        assert len(parts) == 3 and all(len(rows) for rows, _ in parts)
        assert sorted(row for rows, weights in parts for row in rows[weights > 0]) == batch.tolist()
        mean = np.mean([np.mean(rows * weights) for rows, weights in parts])
        np.testing.assert_allclose(mean, np.mean(batch), rtol=1e-6)


def two_train_as_one(strategy):
    data, chosen = first(FEW, lipschitz_penalty=0.01)
    given, models, told = network(tf_keras), [], []
    for k, taken in ((tf_keras, None), (tf_keras, strategy), (keras3, strategy)):
        same = network(k)
        same.set_weights(given.get_weights())
        logs, log = logs_of(k)
        models.append(train(data, chosen, model=same, strategy=taken, callbacks=[log], progress=False))
        told.append([[epoch["val_accuracy"], epoch["val_robust_accuracy"]] for epoch in logs])
    one, *others = models
    assert np.abs(one.get_weights()[0] - given.get_weights()[0]).max() > 0.01
    for two, accuracies in zip(others, told[1:], strict=True):
        assert_same_weights(two, one)
        np.testing.assert_allclose(accuracies, told[0], atol=1e-6)
        # What comes out is an ordinary model, which any worker can save without the others.
        assert two.distribute_strategy.num_replicas_in_sync == 1
    with strategy.scope():
        model = AdversarialModel(network(tf_keras), PGD(epsilon=0.1, steps=1))
    images, labels = tf.fill([1, 8, 8, 1], 0.5), tf.zeros([1], tf.int64)
    made = strategy.run(lambda: model.perturb(images, labels, 0))
    assert not np.array_equal(*strategy.experimental_local_results(made))


def test_two_devices_train_to_the_weights_of_one_from_starts_of_their_own():
    on_two_devices(two_train_as_one)


def two_train_as_one_by_other_ways(strategy, version):
    k = keras_module(version)
    data, chosen = first(41)
    convolution = network(k, k.layers.Conv2D(4, 3, activation="relu"))
    plan = laq.uniform(convolution, "linear", 4, progress=False)
    pixels = datasets.ScaledImages(np.round(data.train.images * 255).astype(np.uint8))
    in_bytes = dataclasses.replace(data, train=datasets.Split(pixels, data.train.labels))
    clean = dataclasses.replace(chosen, attack=None)
    ways = [
        lambda taken: train(in_bytes, chosen, model=convolution, strategy=taken, progress=False),
        lambda taken: train(data, clean, model=convolution, strategy=taken, progress=False),
        lambda taken: fine_tune(convolution, plan, data, chosen, strategy=taken, progress=False),
        lambda taken: fine_tune(convolution, plan, data, chosen, examples="quantized", strategy=taken, progress=False),
    ]
    for way in ways:
        assert_same_weights(way(strategy), way(None))

    def cut(epoch, logs):
        if epoch == 1:
            raise InterruptedError

    # Each device normalises by its own images, and has running statistics of its own within an epoch.
    given = network(k, k.layers.Conv2D(2, 3), k.layers.BatchNormalization(momentum=0.5))
    power_cut = k.callbacks.LambdaCallback(on_epoch_begin=cut)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": given, "strategy": strategy, "progress": False}
        with contextlib.suppress(InterruptedError):
            train(data, chosen, checkpoint=folder, callbacks=[power_cut], **settings)
        assert epochs_behind(folder) == 1
        assert_same_weights(train(data, chosen, checkpoint=folder, **settings), train(data, chosen, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("keras", [2, 3])
def test_so_do_images_in_bytes_training_without_an_attack_and_fine_tuning(keras):
    on_two_devices(two_train_as_one_by_other_ways, keras)


def test_a_strategy_that_keras_cannot_train_with_is_refused():
    workers = tf.distribute.MultiWorkerMirroredStrategy()
    with pytest.raises(InputError, match=r"a OneDeviceStrategy for a model of Keras 3. Received: a MultiWorkerM"):
        devices.scope_of(workers, network(keras3))
    devices.scope_of(workers, network(tf_keras))
    with pytest.raises(InputError, match=r"strategy: expected a MirroredStrategy.*Received: a CentralStorage"):
        devices.scope_of(tf.distribute.experimental.CentralStorageStrategy(), network(tf_keras))


def work(strategy, folder, last):
    """Train as one of two workers and save the network; the second one dies when an epoch begins, unless it is 0."""
    data, chosen = digits_under_attack()
    index = 0 if strategy is None else strategy.cluster_resolver.task_id

    def die(epoch, logs):
        if index == 1 and epoch == last > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    # The weights that all begin with are those of the first worker.
    tf_keras.utils.set_random_seed(index)
    layers = tf_keras.layers
    given = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    death = tf_keras.callbacks.LambdaCallback(on_epoch_begin=die)
    folder = Path(folder)
    settings = {"checkpoint": folder / "state", "callbacks": [death], "progress": False}
    model = train(data, chosen, model=given, strategy=strategy, **settings)
    laq.save_model(model, folder / f"{index}.keras")


def digits_under_attack():
    attack = {"epsilon": 0.1, "steps": 3}
    return datasets.load("digits"), dataclasses.replace(recipe("digits"), epochs=15, learning_rate=0.01, attack=attack)


def two_workers(folder, last=0):
    """Return the exit statuses of two workers and their errors."""
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in sockets]}
    with contextlib.ExitStack() as held:
        workers = []
        for index in range(2):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            workers.append(held.enter_context(python(WORKER, folder, last, TF_CONFIG=config)))
            held.callback(workers[-1].kill)
        errors = [worker.communicate(timeout=600)[1] for worker in workers]
        return [worker.returncode for worker in workers], errors


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the network of two workers."""
    folder = tmp_path_factory.mktemp("undisturbed")
    statuses, errors = two_workers(folder)
    assert statuses == [0, 0], errors
    models = [laq.load_model(folder / f"{index}.keras") for index in range(2)]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(path.name for path in (folder / "state").iterdir()) == ["state.npz"]
    return models[0]


@pytest.mark.slow
def test_workers_of_which_one_is_killed_end_and_go_on_from_the_checkpoint(undisturbed, tmp_path):
    (survivor, killed), (error, _) = two_workers(tmp_path, last=6)
    assert killed == -signal.SIGKILL
    assert survivor not in (0, -signal.SIGKILL) and "UnavailableError" in error
    assert 5 <= epochs_behind(tmp_path / "state") <= 6
    # The state is where the first worker is; it may be on another machine than the others.
    statuses, errors = two_workers(tmp_path)
    assert statuses == [0, 0], errors
    for index in range(2):
        assert_same_weights(laq.load_model(tmp_path / f"{index}.keras"), undisturbed)


@pytest.mark.slow
def test_two_workers_train_a_network_as_robust_as_one_process_does(undisturbed, tmp_path):
    work(None, tmp_path, 0)
    test = datasets.load("digits").test
    shares = []
    for model in (undisturbed, laq.load_model(tmp_path / "0.keras")):
        logits = logits_function(model)
        images = PGD(epsilon=0.1, steps=10)(logits, test.images, test.labels)
        shares.append(np.mean(np.argmax(logits(images), axis=-1) == test.labels))
    assert min(shares) > 0.6
    # Two standard errors of the difference of two shares of 500 images.
    p = np.mean(shares)
    assert abs(shares[0] - shares[1]) < 2 * np.sqrt(2 * p * (1 - p) / len(test))
