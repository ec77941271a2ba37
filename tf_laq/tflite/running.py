"""Running a TensorFlow Lite file: as a function from images to logits, and to see what it takes on this machine."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal.messages import without_native_messages
from tf_laq.errors import InputError
from tf_laq.tflite.report import Performance

_IDENTIFIER = b"TFL3"
_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".xz": lzma.decompress}

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


class TFLiteModel:
    """A TensorFlow Lite file as a function from images to outputs, in the stock runtime.

    Args:
        content: The bytes of a file with one float32 input, its first axis a batch of one, and one float32 output.
        source: Names the file in errors.

    Raises:
        InputError: The bytes are not such a file, or the runtime cannot run it.
    """

    def __init__(self, content: bytes, source: str = "content") -> None:
        self.source = source
        self._interpreter = _interpreter(content, source)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if [d["dtype"] for d in (*inputs, *outputs)] != [np.float32, np.float32] or len(inputs) != 1:
            raise InputError(
                source,
                expected="a file with one float32 input and one float32 output",
                received=f"{len(inputs)} inputs and {len(outputs)} outputs: "
                + ", ".join(np.dtype(d["dtype"]).name for d in (*inputs, *outputs)),
            )
        if list(inputs[0]["shape"][:1]) != [1]:
            raise InputError(
                source,
                expected="a file that takes one image at a time",
                received=f"an input of shape {tuple(inputs[0]['shape'].tolist())}",
                remedy="Convert the model with a batch of one.",
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.image_shape: tuple[int, ...] = tuple(int(side) for side in inputs[0]["shape"][1:])

    def __call__(self, images: Any) -> npt.NDArray[np.float32]:
        """Return the outputs for images (n, height, width, channels), one row per image, shape (n, classes).

        The images go through one by one: a file that was made for a batch of one need not run at any other.

        Raises:
            InputError: The images have another shape than the file takes.
        """
        batch = np.ascontiguousarray(np.asarray(images), dtype=np.float32)
        if batch.ndim < 2 or not len(batch) or batch.shape[1:] != self.image_shape:
            raise InputError(
                f"images for {self.source}",
                expected=f"at least one image of shape {self.image_shape}, in an array",
                received=f"shape {batch.shape}",
            )
        return np.concatenate([self._run(batch[i : i + 1]) for i in range(len(batch))])

    def _run(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Recurrent layers keep their state from one image to the next, which the Keras model does not.
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        output: npt.NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return output


def load(path: str | os.PathLike[str]) -> TFLiteModel:
    """Open a TensorFlow Lite file, compressed (.gz, .xz) or not, as a function from images to logits.

    Raises:
        InputError: The file is missing, truncated or of another kind, or the runtime cannot run it.
    """
    return TFLiteModel(read_file(path), source=str(path))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a TensorFlow Lite file; one whose name ends in .gz or .xz is decompressed.

    Raises:
        InputError: The file is missing, or it is no whole compressed file.
    """
    decompress = _DECOMPRESSORS.get(Path(path).suffix, bytes)
    try:
        return decompress(Path(path).read_bytes())
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            str(path),
            expected="a readable TensorFlow Lite file",
            received=str(error),
            remedy="If it is truncated, export the model again.",
        ) from error


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
    interpreters = [_warm_interpreter(content, threads) for content in contents]
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


def _interpreter(content: bytes, source: str, threads: int | None = None) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    expected = "a whole TensorFlow Lite file"
    if content[4:8] != _IDENTIFIER:
        received = f"{len(content):,} bytes of something else"
        raise InputError(source, expected=expected, received=received, remedy="Export the model again.")
    try:
        with without_native_messages():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            source,
            expected=f"{expected} that the installed runtime can run",
            received=f"{len(content):,} bytes that it refuses ({' '.join(str(error).split())})",
            remedy="The file may be truncated: export the model again.",
        ) from error
    return interpreter


def _warm_interpreter(content: bytes, threads: int) -> Any:
    interpreter = _interpreter(content, "content", threads)
    with without_native_messages():
        # What happens to be in memory may be denormal numbers, which some kernels are several times slower with.
        for tensor in interpreter.get_input_details():
            values = np.random.default_rng(0).random(tensor["shape"])
            interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
        interpreter.invoke()
    return interpreter
