"""Time and memory of the way from a model to a file: search, apply and export of the default plan.

Seconds are those of the processor, of the second run; "/ stock" is the sum against the stock converter's way to a small
file of the same model, `Optimize.DEFAULT`, in the same process. "first step" is that of training the applied model, in
which Keras makes its graph, and "/ float" its ratio to the float model's. Memory is by how much the peak of a fresh
process rises in a call, in units of the float32 weights, on a dense network of 50 million weights; Linux only.

    python benchmarks/models.py                    minutes
    python benchmarks/models.py --networks wrn,"dense 4096" --kerases 3
    python benchmarks/models.py --memory           memory alone
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tabulate import tabulate

import tf_laq as laq

CALLS = ("search", "apply", "wrapped", "baked", "stock")
KERASES = {2: tf_keras, 3: keras}
NETWORKS: dict[str, Callable[[int], Any]] = {
    "wrn": lambda version: laq.models.build("wide_resnet", keras=version, width=1),
    "mobilenet": lambda version: KERASES[version].applications.MobileNetV2(
        weights=None, input_shape=(64, 64, 3), classes=10
    ),
    "dense 4096": lambda version: KERASES[version].Sequential(
        [KERASES[version].layers.Input((4096,)), KERASES[version].layers.Dense(4096)]
    ),
}


def seconds(steps: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Run steps one after the other and return the processor seconds of each."""
    found = {}
    for name, step in steps.items():
        start = time.process_time()
        step()
        found[name] = time.process_time() - start
    return found


def times(model: Any, folder: Path) -> dict[str, float]:
    """Return the seconds of each step on a model, and of the stock conversion."""
    made: dict[str, Any] = {}

    def stock() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(folder / "stock")
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "stock"))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.convert()

    return seconds(
        {
            "search": lambda: made.update(plan=laq.search(model, progress=False)),
            "apply": lambda: made.update(quantized=laq.apply(model, made["plan"])),
            "export": lambda: laq.export_tflite(made["quantized"], folder / "model.tflite"),
            "stock": stock,
        }
    )


def first_steps(model: Any, version: int) -> dict[str, float]:
    """Return the seconds of the first training step of a model under the default plan, and of a float copy."""
    plan = laq.search(model, progress=False)
    images = np.random.default_rng(0).random((16, *model.input_shape[1:]), np.float32)

    def step(trained: Any) -> Callable[[], Any]:
        options = {} if version == 2 else {"jit_compile": False}
        loss = KERASES[version].losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile(KERASES[version].optimizers.Adam(), loss, **options)
        return lambda: trained.train_on_batch(images, np.zeros(16, np.int32))

    return seconds({"float": step(laq.bake(model, plan)), "applied": step(laq.apply(model, plan))})


def time_table(networks: list[str], versions: list[int]) -> str:
    """Return the times of all networks as a table."""
    lines = []
    for name in networks:
        for version in versions:
            model = NETWORKS[name](version)
            with tempfile.TemporaryDirectory() as folder:
                times(model, Path(folder))
                found = times(model, Path(folder))
            ours = found["search"] + found["apply"] + found["export"]
            steps = first_steps(model, version)
            ratios = [ours / found["stock"], steps["applied"], steps["applied"] / steps["float"]]
            lines.append([name, version, *found.values(), *ratios])
    headers = ["network", "Keras", "search", "apply", "export", "stock", "/ stock", "first step", "/ float"]
    return tabulate(lines, headers, tablefmt="github", floatfmt=".2f")


@contextlib.contextmanager
def peak(weights: int, name: str) -> Iterator[None]:
    """Print by how much the peak memory of the process rises inside, in units of float32 weights."""

    def kilobytes(field: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = kilobytes("VmRSS")
    yield
    print(f"{name:>24} {(kilobytes('VmHWM') - before) * 1024 / (4 * weights):6.2f}")


def memory(what: str) -> None:
    """Print the memory of one of the calls."""
    layer = keras.layers.Dense
    model = keras.Sequential([keras.Input((7000,)), layer(7000), layer(128)])
    weights = model.count_params()
    with peak(weights, "search") if what == "search" else contextlib.nullcontext():
        plan = laq.uniform(model, "linear", 4, progress=False)
    if what == "search":
        return
    with peak(weights, "apply") if what == "apply" else contextlib.nullcontext():
        quantized = model if what == "stock" else laq.bake(model, plan) if what == "baked" else laq.apply(model, plan)
    if what == "apply":
        return
    with tempfile.TemporaryDirectory() as folder, peak(weights, f"export, {what}"):
        if what == "stock":
            model.export(f"{folder}/stock", verbose=False)
            tf.lite.TFLiteConverter.from_saved_model(f"{folder}/stock").convert()
        else:
            laq.export_tflite(quantized, f"{folder}/model.tflite")


def main() -> None:
    """Print the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--kerases", default="2,3")
    parser.add_argument(
        "--memory", nargs="?", const="all", choices=("all", "search", "apply", "wrapped", "baked", "stock")
    )
    options = parser.parse_args()
    if options.memory not in (None, "all"):
        memory(options.memory)
        return
    if options.memory is None:
        print(time_table(options.networks.split(","), [int(version) for version in options.kerases.split(",")]))
    print("\nPeak memory, in units of the float32 weights")
    for what in CALLS:
        subprocess.run([sys.executable, __file__, "--memory", what], check=True)


if __name__ == "__main__":
    main()
