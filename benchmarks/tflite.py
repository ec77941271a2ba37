"""Size, parity and speed of exported files: every layout, quantizer and bit width, against float32 in the same run.

The networks have random weights (He normal) and random normalisation statistics. Latency is one thread's, the lowest of
rounds that alternate between the files, as a ratio to the float32 file of the same network; "fast" is what
`CompiledModel.is_fully_accelerated` says. The stock converter's own small files are in the last rows of each network.

    python benchmarks/tflite.py                         the four-layer CNN and WRN-32-1
    python benchmarks/tflite.py --networks dense        12 million weights; minutes
    python benchmarks/tflite.py --bits 3,4 --rounds 20  a part of it
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from tabulate import tabulate

import tf_laq as laq
from tf_laq import models
from tf_laq.messages import without_native_messages
from tf_laq.tflite.conversion import convert
from tf_laq.tflite.encodings import LAYOUTS
from tf_laq.tflite.export import _encoded, _limit, _planned
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.matching import match

layers = tf_keras.layers


def dense() -> Any:
    """Return a network of dense layers, 12 million weights."""
    return tf_keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(3072, activation="relu"),
            layers.Dense(3072, activation="relu"),
            layers.Dense(10),
        ]
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "cnn": lambda: models.build("mnist_cnn"),
    "wrn": lambda: models.build("wide_resnet", width=1),
    "dense": dense,
}


def randomise(model: Any) -> None:
    """Give biases and normalisation statistics values of their own."""
    random = np.random.default_rng(0)
    weights = model.get_weights()
    model.set_weights([w if w.ndim > 1 else random.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in weights])


class Runner:
    """A file in the runtime, with the lowest time of an invocation so far."""

    def __init__(self, content: bytes, images: np.ndarray) -> None:
        with without_native_messages():
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self.outputs = np.concatenate([self._run(image) for image in images])
        self.seconds = np.inf

    def _run(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def time(self) -> None:
        """Take the time of one invocation."""
        start = time.perf_counter()
        self._interpreter.invoke()
        self.seconds = min(self.seconds, time.perf_counter() - start)


def accelerated(content: bytes) -> str:
    """Return whether the fast kernels take the whole graph."""
    from ai_edge_litert.compiled_model import CompiledModel

    with without_native_messages():
        return "yes" if CompiledModel.from_buffer(content).is_fully_accelerated() else "no"


def stock_files(model: Any, shape: tuple[int, ...]) -> dict[str, bytes]:
    """Return the stock converter's float16 and dynamic-range files."""
    found = {}
    for name, types in (("float16", [tf.float16]), ("Optimize.DEFAULT", [])):
        function = tf.function(lambda images: model(images, training=False))
        concrete = function.get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = types
        with without_native_messages():
            found[name] = converter.convert()
    return found


def rows(model: Any, quantizer: str, bits: int, rounds: int, stock: bool) -> list[list[Any]]:
    """Return one row per layout for one setting."""
    shape = tuple(model.input_shape[1:])
    plan = laq.uniform(model, quantizer, bits)
    baked = laq.apply(model, plan, baked=True)
    content = convert(baked, shape)
    constants = Graph(content).float_constants()
    matches = match(constants, _planned(baked, plan))
    limit = _limit(plan, constants, matches)
    folded = sum(m.tensor.factors.size for m in matches if m.tensor.factors is not None)
    contents = {"float32": content, **{name: _encoded(content, matches, name, None)[0] for name in LAYOUTS}}
    contents |= stock_files(baked, shape) if stock else {}
    images = np.random.default_rng(1).random((4, *shape), dtype=np.float32)
    expected = baked(images, training=False).numpy()
    runners = {name: Runner(encoded, images) for name, encoded in contents.items()}
    for _ in range(rounds):
        for runner in runners.values():
            runner.time()
    allowed = 1.05 * limit + 120 * len(plan.entries) + 12 * folded
    return [
        [
            quantizer,
            bits,
            name,
            len(contents[name]),
            len(contents[name]) / limit,
            "" if name != "packed" else "yes" if len(contents[name]) <= allowed else "NO",
            f"{np.abs(runner.outputs - expected).max() / np.abs(expected).max():.1e}",
            1e3 * runner.seconds,
            runner.seconds / runners["float32"].seconds,
            accelerated(contents[name]),
        ]
        for name, runner in runners.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="cnn,wrn", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--quantizers", default="linear,log")
    parser.add_argument("--bits", default="1,2,3,4,5,6,7,8")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    headers = ["quantizer", "bits", "file", "bytes", "/ limit", "within", "parity", "ms", "/ float32", "fast"]
    for name in arguments.networks.split(","):
        tf_keras.utils.set_random_seed(0)
        model = NETWORKS[name]()
        randomise(model)
        found = []
        for quantizer in arguments.quantizers.split(","):
            for bits in map(int, arguments.bits.split(",")):
                found += rows(model, quantizer, bits, arguments.rounds, stock=bits == 4)
        print(f"\n{name}: {model.count_params():,} parameters")
        print(tabulate(found, headers, floatfmt=".3f", disable_numparse=[6]))


if __name__ == "__main__":
    main()
