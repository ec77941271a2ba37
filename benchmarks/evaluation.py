"""Time of an evaluation in several processes against one; each has one thread, and the reports are compared.

The processes have started before the clock does. The ratio of CPU times says what idle cores would give: the time of
one process, over that of the calling process, which makes the checks at the end, plus the mean of the others.

    python benchmarks/evaluation.py                               several minutes
    python benchmarks/evaluation.py --workers 4 --examples 4000
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from tabulate import tabulate

from tf_laq import datasets, evaluation, models
from tf_laq.attacks import Battery
from tf_laq.cli.workers import executor_of


def cpu_seconds(process: int | str = "self") -> float:
    """Return the processor time that a process has taken; Linux only."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes_of(executor: Executor, count: int) -> set[int]:
    """Return the numbers of the processes of an executor, all of which have started then."""
    found: set[int] = set()
    while len(found) < count:
        found |= set(executor.map(_number, range(count)))
    return found


def _number(_: int) -> int:
    time.sleep(0.1)  # So that no process takes the question of another one.
    return os.getpid()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="mnist_adv")
    parser.add_argument("--preset", default="strong")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model, data = models.load(given.network), models.trained()[given.network].dataset
    test = datasets.load(data).test
    images, labels = test.images[: given.examples], test.labels[: given.examples]
    options: dict[str, Any] = {
        "battery": Battery.preset(data, given.preset),
        "part_size": -(-given.examples // given.workers),
    }

    def timed(executor: Executor | None) -> tuple[float, float, Any]:
        start, cpu = time.perf_counter(), cpu_seconds()
        report = evaluation.evaluate({"m": model}, images, labels, executor=executor, **options)
        return time.perf_counter() - start, cpu_seconds() - cpu, report

    with executor_of(given.workers) as executor:
        assert executor is not None, "--workers has to be 2 at least"
        others = processes_of(executor, given.workers)
        before = sum(map(cpu_seconds, others))
        many, own, report = timed(executor)
        shared = sum(map(cpu_seconds, others)) - before
    one, alone, expected = timed(None)
    assert report == expected
    rows = [
        ["1 process", one, alone, 1.0, 1.0],
        [f"{given.workers} processes", many, own + shared, one / many, alone / (own + shared / given.workers)],
    ]
    headers = [f"{given.examples} images, {given.preset}", "seconds", "CPU seconds", "ratio", "ratio of CPU times"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
