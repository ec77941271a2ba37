"""Parts that other processes work on give the report of one process, bit for bit, and none of it is lost with one."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.attacks import PGD, Battery, Column
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier, evaluate, load_examples

COUNT, PARTS = 60, 4


def pool_of(count):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def two_processes():
    with pool_of(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def quantized(keras_network):
    return laq.apply(keras_network, laq.uniform(keras_network, "linear", 3, progress=False))


@pytest.fixture(scope="module")
def evaluated(keras_network, quantized, digits):
    """Return a function that evaluates a network, and its quantized form with the network as its float twin."""
    pgd = PGD(epsilon=0.1, steps=5)
    battery = Battery(name="x", columns=(Column(name="pgd", attacks={"gray": pgd, "white": pgd}),))
    images, labels = (array[1200 : 1200 + COUNT] for array in digits)
    models = {"float": keras_network, "quantized": quantized}
    settings = {"surrogates": {"float": keras_network}, "float_twins": {"quantized": keras_network}}
    settings |= {"battery": battery, "part_size": COUNT // PARTS, "check_strength": False, "progress": False}
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


def test_two_processes_give_the_report_and_the_examples_of_one(evaluated, alone, two_processes, tmp_path) -> None:
    assert_same(tmp_path, evaluated(executor=two_processes, folder=tmp_path), alone)


def test_an_evaluation_in_other_processes_ends_where_enough_is_known(evaluated, two_processes) -> None:
    seen = []

    def enough(surviving):
        seen.append(len(surviving["float"]))
        return len(seen) == 2

    assert evaluated(executor=two_processes, until=enough).count == 2 * COUNT // PARTS
    assert seen == [COUNT // PARTS, 2 * COUNT // PARTS]


def test_a_model_that_is_only_in_this_process_is_refused(evaluated, keras_network, two_processes) -> None:
    own = Classifier(lambda images: keras_network(images))
    with pytest.raises(InputError, match=r"surrogates\['own'\].*another process.*path of a saved model"):
        evaluated(executor=two_processes, surrogates={"own": own})


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
