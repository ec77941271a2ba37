"""Parts that other processes work on give the report of one process, bit for bit, and none of it is lost with one."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq.attacks import PGD, Battery, Column
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier, evaluate, load_examples

COUNT, PARTS = 60, 4
ATTACK = PGD(epsilon=0.1, steps=5)
BATTERY = Battery(name="x", columns=(Column(name="pgd", attacks={"gray": ATTACK, "white": ATTACK}),))


def pool_of(count):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def quantized(keras_network):
    return laq.apply(keras_network, laq.uniform(keras_network, "linear", 3, progress=False))


@pytest.fixture(scope="module")
def evaluated(keras_network, quantized, digits):
    """Return a function that evaluates a network, and its quantized form with the network as its float twin."""
    images, labels = (array[1200 : 1200 + COUNT] for array in digits)
    models = {"float": keras_network, "quantized": quantized}
    settings = {"surrogates": {"float": keras_network}, "float_twins": {"quantized": keras_network}}
    settings |= {"battery": BATTERY, "part_size": COUNT // PARTS, "check_strength": False, "progress": False}
    return functools.partial(evaluate, models, images, labels, **settings)


@pytest.fixture(scope="module")
def alone(evaluated, tmp_path_factory):
    """Return the folder and the report of the evaluation in this process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, evaluated(folder=folder)


def assert_same(folder, report, alone):
    kept, expected = alone
    assert report == expected
    for found, given in zip(load_examples(folder), load_examples(kept), strict=True):
        for name, values in vars(found).items():
            assert np.array_equal(values, vars(given)[name]), name


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_other_processes_give_the_report_and_the_examples_of_this_one(count, evaluated, alone, tmp_path) -> None:
    with pool_of(count) as pool:
        assert_same(tmp_path, evaluated(executor=pool, folder=tmp_path), alone)


def by_brightness(images):
    light = tf.reduce_mean(images, [1, 2, 3]) - 0.5
    return tf.stack([-light, light], 1)


class Here(Executor):
    """Runs everything here and at once."""

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_parts_in_any_order_give_the_report_of_those_in_order_and_are_counted_in_order(tmp_path) -> None:
    images, labels = np.random.default_rng(0).random((9, 4, 4, 1), np.float32), np.arange(9) % 2
    options = {"battery": BATTERY, "part_size": 3, "check_strength": False, "progress": False}
    expected = evaluate({"m": by_brightness}, images, labels, **options)
    seen = []

    def two_parts(surviving):
        seen.append(surviving["m"].tolist())
        return len(surviving["m"]) == 6

    def run(**changes):
        return evaluate({"m": by_brightness}, images, labels, executor=Here(), folder=tmp_path, **options, **changes)

    assert run(until=two_parts).count == 6
    (tmp_path / "part-0000.npz").unlink()
    assert run(until=two_parts).count == 6
    assert seen == 2 * [expected.surviving("m")[:count].tolist() for count in (3, 6)]
    (tmp_path / "part-0000.npz").unlink()
    assert run() == expected


def test_a_model_that_is_only_in_this_process_is_refused(evaluated, keras_network) -> None:
    own = Classifier(lambda images: keras_network(images))
    with pytest.raises(InputError, match=r"surrogates\['own'\].*another process.*path of a saved model"):
        evaluated(executor=Here(), surrogates={"own": own})


def test_processes_that_would_wait_forever_are_refused(evaluated) -> None:
    forking = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(InputError, match=r"^executor: .*forks.*get_context\(\"spawn\"\)"):
        evaluated(executor=forking)


def test_the_error_of_another_process_is_the_same_error() -> None:
    error = InputError("bits", expected="a whole number", received=[0], remedy="Give one.").within("plan")
    for found in (pickle.loads(pickle.dumps(error)), pickle.loads(pickle.dumps(error.within("file")))):
        assert str(error) in str(found)


def killed_after_a_part(folder, process):
    """Kill a process as soon as the folder of an evaluation has a part."""

    def kill():
        while not list(folder.glob("part-*")):
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_process_that_ends_is_told_and_what_was_finished_is_kept(evaluated, alone, tmp_path) -> None:
    with pool_of(1) as pool:
        killer = killed_after_a_part(tmp_path, pool.submit(os.getpid).result())
        with pytest.raises(InputError, match=r"^executor: .*one that ended.*the same call with a new executor goes on"):
            evaluated(executor=pool, folder=tmp_path)
        killer.join()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    assert kept
    assert not (tmp_path / "report.json").exists()
    parts = []

    def note(surviving):
        parts.append({path: path.stat().st_mtime_ns for path in kept})
        return False

    assert_same(tmp_path, evaluated(folder=tmp_path, until=note), alone)
    assert all(part == kept for part in parts)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Of Dask.
def test_dask_gives_the_report_of_one_process_though_one_of_its_own_is_killed(evaluated, alone, tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    from dask import config

    # To import TensorFlow may take so long on a busy machine that Dask takes a worker for lost.
    patience = {"distributed.comm.timeouts.tcp": "600s", "distributed.scheduler.worker-ttl": None}
    with (
        config.set(patience),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        worker, process = next(iter(client.run(os.getpid).items()))
        killer = killed_after_a_part(tmp_path, process)
        report = evaluated(executor=client.get_executor(), folder=tmp_path)
        killer.join()
        assert process not in client.run(os.getpid).values(), worker
    assert_same(tmp_path, report, alone)
