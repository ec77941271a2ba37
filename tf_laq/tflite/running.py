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
from collections.abc import Callable, Mapping, Sequence
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
        content: The bytes of a file whose inputs have a first axis of one, the batch, and with one float32 output.
        source: Names the file in errors.

    Attributes:
        input_shapes: Name of an input -> shape of one example; in the order that a list of inputs has.

    Raises:
        InputError: The bytes are not such a file, or the runtime cannot run it.
    """

    def __init__(self, content: bytes, source: str = "content") -> None:
        self.source = source
        self._interpreter = _interpreter(content, source)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if [d["dtype"] for d in outputs] != [np.float32] or not inputs:
            raise InputError(
                source,
                expected="a file with inputs and one float32 output",
                received=f"{len(inputs)} inputs and {len(outputs)} outputs: "
                + ", ".join(np.dtype(d["dtype"]).name for d in (*inputs, *outputs)),
            )
        for each in inputs:
            if list(each["shape"][:1]) != [1]:
                raise InputError(
                    source,
                    expected="a file that takes one image at a time",
                    received=f"an input of shape {tuple(each['shape'].tolist())}",
                    remedy="Convert the model with a batch of one.",
                )
        self._output = outputs[0]["index"]
        names = _signature_names(self._interpreter)
        self._inputs = {names.get(each["index"], each["name"]): each for each in inputs}
        self.input_shapes: dict[str, tuple[int, ...]] = {
            name: tuple(int(side) for side in each["shape"][1:]) for name, each in self._inputs.items()
        }

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image, or of one example for the first of several inputs."""
        return next(iter(self.input_shapes.values()))

    def __call__(self, images: Any) -> npt.NDArray[np.float32]:
        """Return the outputs for images (n, height, width, channels), one row per image, shape (n, classes).

        The images go through one by one: a file that was made for a batch of one need not run at any other.

        Args:
            images: An array; for a file with several inputs a list of arrays in their order, or a dict by their names.

        Raises:
            InputError: The images have another shape or dtype than the file takes.
        """
        subject = f"images for {self.source}"
        given = in_order(images, list(self._inputs), subject)
        arrays = [as_dtype(a, d["dtype"], subject) for a, d in zip(given, self._inputs.values(), strict=True)]
        for array, shape in zip(arrays, self.input_shapes.values(), strict=True):
            if array.ndim < 1 or array.shape[1:] != shape or not len(array) == len(arrays[0]) > 0:
                raise InputError(
                    subject,
                    expected=f"at least one image of shape {shape}, in an array",
                    received=f"shape {array.shape}",
                )
        return np.concatenate([self._run([a[i : i + 1] for a in arrays]) for i in range(len(arrays[0]))])

    def _run(self, inputs: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        # Recurrent layers keep their state from one image to the next, which the Keras model does not.
        self._interpreter.reset_all_variables()
        for details, value in zip(self._inputs.values(), inputs, strict=True):
            self._interpreter.set_tensor(details["index"], value)
        self._interpreter.invoke()
        output: npt.NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return output


def in_order(images: Any, names: Sequence[str], subject: str) -> list[Any]:
    """Return one value for each of the named inputs: the only one, or those of a list or a dict.

    Raises:
        InputError: There are others, or another number of them.
    """
    if isinstance(images, Mapping):
        if set(images) != set(names):
            raise InputError(subject, expected=f"the inputs {', '.join(names)}", received=", ".join(map(str, images)))
        return [images[name] for name in names]
    if len(names) == 1:
        return [images]
    if not isinstance(images, (list, tuple)) or len(images) != len(names):
        raise InputError(
            subject,
            expected=f"a list or dict of {len(names)} arrays, for the inputs {', '.join(names)}",
            received=f"{len(images)} arrays" if isinstance(images, (list, tuple)) else f"a {type(images).__name__}",
        )
    return list(images)


def as_dtype(values: Any, dtype: npt.DTypeLike, subject: str) -> npt.NDArray[Any]:
    """Return values as an array of a dtype that has them.

    Raises:
        InputError: Integers or truth values are expected, and these are others.
    """
    given = np.asarray(values)
    found = np.ascontiguousarray(given, dtype=dtype).reshape(given.shape)
    if found.dtype.kind != "f" and not np.array_equal(found, given):
        raise InputError(subject, expected=f"values that {found.dtype.name} has", received=f"others, as {given.dtype}")
    return found


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Return tensor index -> name of the input in the file's only signature."""
    if len(interpreter.get_signature_list()) != 1:
        return {}
    details = interpreter.get_signature_runner().get_input_details()
    return {each["index"]: name for name, each in details.items()}


def load(path: str | os.PathLike[str]) -> TFLiteModel:
    """Open a TensorFlow Lite file, compressed (.gz, .xz) or not, as a function from images to logits.

    Raises:
        InputError: The file is missing, truncated or of another kind, or the runtime cannot run it.
    """
    return TFLiteModel(read_file(path), source=str(path))


def is_tflite(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a TensorFlow Lite file by its name, be it compressed or not.

    Example:
        >>> is_tflite("small.tflite.xz"), is_tflite("small.keras")
        (True, False)
    """
    return ".tflite" in Path(path).suffixes


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
