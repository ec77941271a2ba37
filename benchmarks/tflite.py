"""Size, parity, speed and memory of exported files: every layout, quantizer and bit width, against float32 and peers.

The networks have random weights (He normal) and random normalisation statistics. "rule" is whether a packed file takes
at most 1.05 times the limit, 120 bytes a tensor and 12 a channel of a folded normalisation. Latency is that of one
thread in processor time, the median of rounds in which all files of a setting take turns; "/ float32" is the median of
the ratios in these rounds. "MB" is by how much a file raises the peak memory of a fresh process. "fast" is whether the
runtime says that its fast kernels take the whole graph. Peers are the stock converter's float16 and Optimize.DEFAULT
files, and ai-edge-quantizer's files with recovered weights, if it is installed (the extra "compare").

    python benchmarks/tflite.py                       minutes: peers and memory at 4 bits only
    python benchmarks/tflite.py --full                peers and memory at every width
    python benchmarks/tflite.py --networks cnn --bits 3,4 --rounds 200
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tf_keras
from tabulate import tabulate

import tf_laq as laq
from tf_laq import models
from tf_laq.adapters import adapter_of
from tf_laq.adapters.signature import signature_of
from tf_laq.tflite import running
from tf_laq.tflite.comparison import TOLERANCE
from tf_laq.tflite.conversion import convert, stock_files
from tf_laq.tflite.encodings import LAYOUTS
from tf_laq.tflite.export import _limit
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.matching import match
from tf_laq.tflite.packing import encoded, planned_tensors
from tf_laq.tflite.running import TFLiteModel

layers = tf_keras.layers


def dense() -> Any:
    """Return a network of dense layers, 12 million weights."""
    hidden = [layers.Dense(3072, activation="relu") for _ in range(2)]
    return tf_keras.Sequential([layers.Input((784,)), *hidden, layers.Dense(10)])


NETWORKS: dict[str, Callable[[], Any]] = {
    "cnn": lambda: models.build("mnist_cnn"),
    "wrn": lambda: models.build("wide_resnet", width=1),
    "dense": dense,
}
ROUNDS = {"cnn": 200, "wrn": 30, "dense": 30}
CONVOLUTIONAL = ("cnn", "wrn")
PEER_BITS = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A file and its figures; `rule` is None for a file that the size rule is not for."""

    quantizer: str
    bits: int
    file: str
    bytes: int
    of_limit: float
    rule: bool | None
    parity: float
    milliseconds: float
    of_float: float
    megabytes: float | None
    fast: bool | None

    def cells(self) -> list[Any]:
        """Return the row of the printed table."""
        words = {True: "yes", False: "NO", None: ""}
        rule, fast = words[self.rule], words[self.fast]
        start = [self.quantizer, self.bits, self.file, self.bytes, f"{self.of_limit:.3f}", rule]
        times = [f"{self.milliseconds:.3f}", f"{self.of_float:.3f}"]
        return [*start, f"{self.parity:.1e}", *times, self.megabytes and f"{self.megabytes:.1f}", fast]


HEADERS = ["quantizer", "bits", "file", "bytes", "/ limit", "rule", "parity", "ms", "/ float32", "MB", "fast"]


def randomise(model: Any) -> None:
    """Give biases and normalisation statistics values of their own."""
    random = np.random.default_rng(0)
    weights = model.get_weights()
    model.set_weights([w if w.ndim > 1 else random.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in weights])


def recovered(content: bytes, bits: int) -> bytes | str:
    """Return ai-edge-quantizer's file with the grid that it finds in the weights, or why there is none."""
    try:
        from ai_edge_quantizer import qtyping, quantizer
    except ImportError:
        return "not installed"
    try:
        # It reports and draws bars on both streams.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            peer = quantizer.Quantizer(content)
            operations = qtyping.TFLOperationName.ALL_SUPPORTED
            algorithm = "dequantized_weight_recovery"
            peer.add_weight_only_config(".*", operations, 4 if bits <= 4 else 8, algorithm_key=algorithm)
            return bytes(peer.quantize().quantized_model)
    except Exception as error:  # Whatever it does not support, it says in its own way.
        return f"refuses: {' '.join(str(error).split())[:100]}"


def rows(name: str, model: Any, quantizer: str, bits: int, rounds: int, peers: bool) -> list[Row]:
    """Return one row per file for one setting."""
    shape = tuple(model.input_shape[1:])
    plan = laq.uniform(model, quantizer, bits)
    baked = laq.bake(model, plan)
    content = convert(baked, signature_of(baked))
    constants = Graph(content).float_constants()
    matches = match(constants, planned_tensors(adapter_of(baked).find_weights(baked)[0], plan))
    limit = _limit(plan, constants, matches)
    folded = sum(m.tensor.factors.size for m in matches if m.tensor.factors is not None)
    allowed = 1.05 * limit + 120 * len(plan.entries) + 12 * folded
    contents = {"float32": content, **{layout: encoded(content, matches, layout, None)[0] for layout in LAYOUTS}}
    if peers:
        found = recovered(content, bits)
        contents |= stock_files(baked, signature_of(baked)) | (
            {"ai-edge-quantizer": found} if isinstance(found, bytes) else {}
        )
        if isinstance(found, str):
            print(f"{name}, {quantizer} {bits}: ai-edge-quantizer: {found}")
    images = np.random.default_rng(1).random((4, *shape), dtype=np.float32)
    expected = baked(images, training=False).numpy()
    times = running.invocation_times(list(contents.values()), rounds, clock=time.process_time)
    medians, ratios = np.median(times, axis=1), np.median(times / times[0], axis=1)
    return [
        Row(
            quantizer,
            bits,
            file,
            len(stored),
            len(stored) / limit,
            len(stored) <= allowed if file == "packed" else None,
            float(np.abs(TFLiteModel(stored)(images) - expected).max() / np.abs(expected).max()),
            1e3 * float(median),
            float(ratio),
            (running.peak_bytes(stored) or 0) / 1e6 if peers else None,
            running.is_accelerated(stored),
        )
        for (file, stored), median, ratio in zip(contents.items(), medians, ratios, strict=True)
    ]


def goals(name: str, found: list[Row]) -> list[list[Any]]:
    """Return what the files of a network are held to, and whether they are."""
    ours = [row for row in found if row.file in LAYOUTS]
    sizes = {(row.quantizer, row.bits, row.file): row.bytes for row in ours}
    broken = [f"{row.quantizer} {row.bits}" for row in ours if row.rule is False]
    larger = [key for key in sizes if key[2] == "auto" and sizes[key] > sizes[(*key[:2], "int8")]]
    int8, auto = (float(np.median([row.of_float for row in ours if row.file == layout])) for layout in ("int8", "auto"))
    parity = max(row.parity for row in ours)
    packed = sum(row.rule is not None for row in ours)
    return [
        [name, "packed within the size rule", f"{packed - len(broken)} of {packed}", ", ".join(broken) or "yes"],
        [name, "auto never larger than int8", "", "NO" if larger else "yes"],
        [name, f"parity <= {TOLERANCE:.0e}", f"{parity:.1e}", "yes" if parity <= TOLERANCE else "NO"],
        [name, "int8 latency <= 1.05 x float32 (median of settings)", f"{int8:.3f}", "yes" if int8 <= 1.05 else "NO"],
        *(
            [[name, "auto latency <= 1.10 x float32 (median)", f"{auto:.3f}", "yes" if auto <= 1.1 else "NO"]]
            if name in CONVOLUTIONAL
            else []
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--quantizers", default="linear,log")
    parser.add_argument("--bits", default="1,2,3,4,5,6,7,8")
    parser.add_argument("--rounds", type=int, help="rounds of latency; default: by the size of the network")
    parser.add_argument("--full", action="store_true", help="peers and memory at every width")
    arguments = parser.parse_args()
    held: list[list[Any]] = []
    for name in arguments.networks.split(","):
        tf_keras.utils.set_random_seed(0)
        model = NETWORKS[name]()
        randomise(model)
        found: list[Row] = []
        for quantizer in arguments.quantizers.split(","):
            for bits in map(int, arguments.bits.split(",")):
                peers = arguments.full or bits == PEER_BITS
                found += rows(name, model, quantizer, bits, arguments.rounds or ROUNDS[name], peers)
        print(f"\n{name}: {model.count_params():,} parameters")
        print(tabulate([row.cells() for row in found], HEADERS, disable_numparse=True), flush=True)
        held += goals(name, found)
    print(f"\n{tabulate(held, ['network', 'goal', 'measured', 'held'], disable_numparse=True)}")


if __name__ == "__main__":
    main()
