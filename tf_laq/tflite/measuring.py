"""What files take to run on this machine: time, memory, and which kernels the runtime runs them on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal.messages import without_native_messages
from tf_laq.tflite.report import Performance

RUNS = 50

# The peak is that of the child's own memory from before it loads the file, in kilobytes; Linux only.
_CHILD = """
import sys
from ai_edge_litert.interpreter import Interpreter

def kilobytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))

with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = kilobytes("VmRSS")
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
for _ in range(3):
    interpreter.invoke()
print(kilobytes("VmHWM") - before)
"""


def performance(content: bytes, float_content: bytes, *, threads: int = 1, runs: int = RUNS) -> Performance:
    """Return the latency and the peak memory of a file and of the same network's float32 file.

    Args:
        content: The file.
        float_content: The float32 file.
        threads: Threads of the runtime.
        runs: Number of invocations of each file; the two take turns.
    """
    latency, float_latency = np.median(invocation_times([content, float_content], runs, threads), axis=1)
    peak, float_peak = peak_bytes(content, threads), peak_bytes(float_content, threads)
    return Performance(threads, runs, 1e3 * float(latency), 1e3 * float(float_latency), peak, float_peak)


def invocation_times(
    contents: Sequence[bytes], runs: int, threads: int = 1, clock: Callable[[], float] = time.perf_counter
) -> npt.NDArray[np.float64]:
    """Return the seconds of invocations of some files, which take turns: shape (files, runs)."""
    interpreters = [_interpreter(content, threads) for content in contents]
    times = np.empty((len(interpreters), runs))
    for run in range(-2, runs):  # The first two warm up.
        for index, interpreter in enumerate(interpreters):
            start = clock()
            interpreter.invoke()
            times[index, max(run, 0)] = clock() - start
    return times


def peak_bytes(content: bytes, threads: int = 1) -> int | None:
    """Return by how much loading and running a file raises the peak memory of a fresh process; None if unknown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        child = [sys.executable, "-c", _CHILD, str(path), str(threads)]
        done = subprocess.run(child, capture_output=True, text=True, check=False)
    return 1024 * int(done.stdout) if done.returncode == 0 else None


def is_accelerated(content: bytes) -> bool | None:
    """Return whether the runtime says that its fast kernels take the whole graph; None if it does not say."""
    try:
        from ai_edge_litert.compiled_model import CompiledModel

        with without_native_messages():
            return bool(CompiledModel.from_buffer(content).is_fully_accelerated())
    except (ImportError, AttributeError, RuntimeError, ValueError):
        return None


def _interpreter(content: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with without_native_messages():
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        # What happens to be in memory may be denormal numbers, which some kernels are several times slower with.
        for tensor in interpreter.get_input_details():
            values = np.random.default_rng(0).random(tensor["shape"])
            interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
        interpreter.invoke()
    return interpreter
