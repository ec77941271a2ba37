"""Time of a training step under the default plan, as a multiple of the float network's in the same run.

The steps of both networks alternate; milliseconds are those of the processor with one thread, as medians. A plain step
is Keras's own. An adversarial one makes its examples by PGD first, as `laq.training.fine_tune` does.

    python benchmarks/training.py                    minutes
    python benchmarks/training.py --networks mnist_cnn --kerases 2 --attack_steps 5 --batch_size 64
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tabulate import tabulate

import tf_laq as laq

KERASES = {2: tf_keras, 3: keras}
OPTIONS = {"wide_resnet": {"width": 1}}  # WRN-32-1: a step of the one in the paper takes half a minute.
STEPS = 15


def compiled(model: Any, version: int, attack_steps: int) -> Any:
    """Return a model that is ready for plain training steps, or for adversarial ones with an attack of some steps."""
    module = KERASES[version]
    if attack_steps:
        model = laq.training.AdversarialModel(model, laq.attacks.PGD(epsilon=0.3, steps=attack_steps))
    options = {} if version == 2 else {"jit_compile": False}
    model.compile(module.optimizers.Adam(), module.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model


def milliseconds(models: list[Any], images: Any, labels: Any) -> list[float]:
    """Return the processor time of a training step of each model."""
    found: list[list[float]] = [[] for _ in models]
    # The first two steps trace and settle.
    for _ in range(2 + STEPS):
        for times, model in zip(found, models, strict=True):
            start = time.process_time()
            model.train_on_batch(images, labels)
            times.append(1000 * (time.process_time() - start))
    return [statistics.median(times[2:]) for times in found]


def row(name: str, version: int, attack_steps: int, batch_size: int) -> list[Any]:
    """Return a line of the table."""
    model = laq.models.build(name, keras=version, **OPTIONS.get(name, {}))
    wrapped = laq.apply(model, laq.search(model, progress=False))
    random = np.random.default_rng(0)
    images = random.random((batch_size, *model.input_shape[1:]), np.float32)
    labels = random.integers(0, 10, batch_size)
    models = [compiled(one, version, attack_steps) for one in (model, wrapped)]
    plain, quantized = milliseconds(models, images, labels)
    attack = f"PGD-{attack_steps}" if attack_steps else "none"
    return [name, version, attack, plain, quantized, quantized / plain]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn", "mnist_cnn_madry", "wide_resnet"])
    parser.add_argument("--kerases", nargs="+", type=int, default=[2, 3], choices=KERASES)
    parser.add_argument("--attack_steps", nargs="+", type=int, default=[0, 5])
    parser.add_argument("--batch_size", type=int, default=128)
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows = [
        row(name, version, steps, given.batch_size)
        for name in given.networks
        for version in given.kerases
        for steps in given.attack_steps
    ]
    headers = ["network", "Keras", "attack", "float ms", "plan ms", "plan / float"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
