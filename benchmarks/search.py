"""Time of the search on WRN-32-10 shapes: ours against one singular value decomposition per norm, in the same run.

Both searches make the same decisions, which is checked. The kernels are random (He normal, 45.9 million weights), so
this needs no model. CPU seconds, so that a busy machine disturbs little; BLAS runs on one thread for both. The policies
that choose among all quantizers come last; they are held to 30 CPU seconds.

    python benchmarks/search.py             everything; the plain search alone takes minutes
    python benchmarks/search.py --width 4   a narrower network, for a first look
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
import threadpoolctl

from tf_laq import lipschitz, quantizers
from tf_laq.policies import Algorithm1, Budget, Guarded, Limit, Policy, Thresholds, make_plan
from tf_laq.sensitivity import WeightTensor

MAX_BITS = 8
METHODS = ("linear", "log")
ALL_QUANTIZERS = (Guarded(), Budget(limit=Limit(average_bits=3.5)))


def wide_resnet_kernels(width: int) -> list[WeightTensor]:
    """Return random kernels with the shapes of a wide ResNet-32: 31 convolutions and a dense layer."""
    random = np.random.default_rng(0)

    def kernel(name: str, *shape: int) -> WeightTensor:
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        values = (random.standard_normal(shape) * deviation).astype(np.float32)
        layout = lipschitz.conv2d() if len(shape) == 4 else lipschitz.dense()
        return WeightTensor(name, "kernel", values, layout, fed_by_input=name == "stem")

    kernels = [kernel("stem", 3, 3, 3, 16)]
    channels = 16
    for stage, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for block in range(1, 6):
            kernels.append(kernel(f"block{stage}_{block}_conv1", 3, 3, channels, filters))
            kernels.append(kernel(f"block{stage}_{block}_conv2", 3, 3, filters, filters))
            channels = filters
    return [*kernels, kernel("logits", channels, 10)]


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


def rows(width: int) -> Iterator[str]:
    """Give the lines of the result."""
    yield "weights    CPU s   s per million"
    for narrower in sorted({1, 2, 4, width}):
        tensors = wide_resnet_kernels(narrower)
        ours, seconds = timed_plan(tensors, Algorithm1(max_bits=MAX_BITS))
        weights = sum(tensor.values.size for tensor in tensors)
        yield f"{weights / 1e6:6.2f} M  {seconds:6.2f}  {seconds / weights * 1e6:6.3f}   WRN-32-{narrower}"
    start = time.process_time()
    plain = [plain_choice(tensor, Thresholds()) for tensor in tensors]
    plain_seconds = time.process_time() - start
    same = sum(a == b for a, b in zip(ours, plain, strict=True))
    yield f"a decomposition per norm: {plain_seconds:.1f} CPU s; the same choice for {same} of {len(plain)} kernels"
    yield f"ratio on WRN-32-{width}: {plain_seconds / seconds:.1f}"
    for policy in ALL_QUANTIZERS:
        yield f"{policy.describe()}, all quantizers: {timed_plan(tensors, policy)[1]:.1f} CPU s"


def main() -> None:
    """Print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=10, help="width factor of the wide ResNet-32 (default: 10)")
    with threadpoolctl.threadpool_limits(1, "blas"):
        for row in rows(parser.parse_args().width):
            print(row, flush=True)


if __name__ == "__main__":
    main()
