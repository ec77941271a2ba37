"""Processor time of the search: ours against one singular value decomposition per norm, in the same run.

The kernels are random (He normal), so this needs no model: wide ResNets up to WRN-32-10 (45.9 million weights), a dense
layer of 4096 x 4096, and VGG-16 (138 million, 103 million of them in one layer). On the wide ResNet, decomposing makes
the same decisions, which is checked. BLAS runs on one thread for all.

    python benchmarks/search.py             everything; the search by decompositions alone takes minutes
    python benchmarks/search.py --width 4   a narrower wide ResNet, for a first look
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
import threadpoolctl
from tabulate import tabulate

from tf_laq import lipschitz, quantizers
from tf_laq.policies import Algorithm1, Budget, Guarded, Limit, Policy, Thresholds, make_plan
from tf_laq.sensitivity import WeightTensor

MAX_BITS = 8
METHODS = ("linear", "log")
POLICIES: dict[str, Policy] = {
    "Algorithm 1": Algorithm1(max_bits=MAX_BITS),
    "guarded": Guarded(),
    "budget": Budget(limit=Limit(average_bits=3.5)),
}
VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


class Kernels:
    """Makes random kernels, the same ones every time."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def __call__(self, name: str, *shape: int, first: bool = False) -> WeightTensor:
        """Return the next kernel, of a convolution or of a dense layer by its shape."""
        values = self._random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        layout = lipschitz.conv2d() if len(shape) == 4 else lipschitz.dense()
        return WeightTensor(name, "kernel", values, layout, fed_by_input=first)


def wide_resnet(width: int) -> list[WeightTensor]:
    """Return kernels with the shapes of a wide ResNet-32: 31 convolutions and a dense layer."""
    kernel, channels = Kernels(), 16
    kernels = [kernel("stem", 3, 3, 3, 16, first=True)]
    for stage, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for block in range(1, 6):
            kernels.append(kernel(f"block{stage}_{block}_conv1", 3, 3, channels, filters))
            kernels.append(kernel(f"block{stage}_{block}_conv2", 3, 3, filters, filters))
            channels = filters
    return [*kernels, kernel("logits", channels, 10)]


def vgg16() -> list[WeightTensor]:
    """Return kernels with the shapes of VGG-16."""
    kernel, channels = Kernels(), (3, *VGG16)
    convolutions = [
        kernel(f"conv{i}", 3, 3, *sides, first=i == 1) for i, sides in enumerate(zip(channels, VGG16, strict=False), 1)
    ]
    return [*convolutions, kernel("fc1", 25088, 4096), kernel("fc2", 4096, 4096), kernel("logits", 4096, 1000)]


def svd_norm(tensor: WeightTensor, values: np.ndarray) -> float:
    """Return the spectral norm of a kernel's matrix by NumPy's singular value decomposition, in float32."""
    return float(np.linalg.svd(tensor.layout.matrices(values)[0], compute_uv=False)[0])


def plain_choice(tensor: WeightTensor, limits: Thresholds) -> tuple[str, int]:
    """Return Algorithm 1's choice with every norm of every candidate computed."""
    norm = svd_norm(tensor, tensor.values)
    passed, last = [], []
    for method in METHODS:
        for bits in range(1, MAX_BITS + 1):
            quantized = quantizers.get(method, bits).quantize(tensor.values)
            error = svd_norm(tensor, tensor.values - quantized)
            if svd_norm(tensor, quantized) <= limits.quantized_limit(norm) and error <= limits.error_limit(norm):
                passed.append((error, method, bits))
                break
        else:
            last.append((error, method, bits))
    _, method, bits = min(passed or last)
    return method, bits


def timed_plan(tensors: list[WeightTensor], policy: Policy) -> tuple[list[tuple[str | None, int]], float]:
    """Return a policy's choices and the CPU seconds they took."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = make_plan(tensors, [], policy, progress=False)
    return [(entry.quantizer, entry.bits) for entry in plan.entries], time.process_time() - start


def rows(name: str, tensors: list[WeightTensor], policies: list[str]) -> Iterator[list[str | float]]:
    """Give a line of the table for each policy."""
    weights = sum(tensor.values.size for tensor in tensors) / 1e6
    for policy in policies:
        seconds = timed_plan(tensors, POLICIES[policy])[1]
        yield [name, policy, weights, seconds, seconds / weights]


def compared(width: int) -> str:
    """Return how the search by decompositions compares with ours on a wide ResNet."""
    tensors = wide_resnet(width)
    ours, seconds = timed_plan(tensors, POLICIES["Algorithm 1"])
    start = time.process_time()
    plain = [plain_choice(tensor, Thresholds()) for tensor in tensors]
    plain_seconds = time.process_time() - start
    same = sum(a == b for a, b in zip(ours, plain, strict=True))
    return (
        f"WRN-32-{width} by Algorithm 1 with a decomposition per norm: {plain_seconds:.1f} CPU s, "
        f"{plain_seconds / seconds:.1f} times ours; the same choice for {same} of {len(plain)} kernels"
    )


def main() -> None:
    """Print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=10, help="width factor of the wide ResNet-32 (default: 10)")
    width = parser.parse_args().width
    with threadpoolctl.threadpool_limits(1, "blas"):
        found = [
            *(row for each in (1, 2, 4) for row in rows(f"WRN-32-{each}", wide_resnet(each), ["Algorithm 1"])),
            *rows(f"WRN-32-{width}", wide_resnet(width), list(POLICIES)),
            *rows("dense 4096 x 4096", [Kernels()("dense", 4096, 4096)], ["Algorithm 1", "guarded"]),
            *rows("VGG-16", vgg16(), ["Algorithm 1", "guarded"]),
        ]
        headers = ["kernels of", "policy", "million weights", "CPU s", "s per million"]
        print(tabulate(found, headers, tablefmt="github", floatfmt=".3f"), flush=True)
        print(f"\n{compared(width)}")


if __name__ == "__main__":
    main()
