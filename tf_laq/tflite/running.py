"""Running a TensorFlow Lite file: as a function from images to logits, and to see what it takes on this machine."""

from __future__ import annotations

import contextlib
import functools
import lzma
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal.messages import without_native_messages
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import real, whole
from tf_laq.errors import InputError
from tf_laq.tflite.report import Performance
from tf_laq.tflite.runtime import MEMORY, SECONDS, ChildRuntime, Runtime, is_known
from tf_laq.tflite.verifying import MAX_BYTES, RAISE, verify

_DECOMPRESSORS: dict[str, Callable[[int], Any]] = {
    ".gz": lambda limit: zlib.decompressobj(wbits=31),
    ".xz": lambda limit: lzma.LZMADecompressor(memlimit=limit + _XZ_BYTES),
}
_XZ_BYTES = 1 << 26
"""What decompressing takes beside the content."""
_NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} | {"bool"}
_SHOWN = 400
_BYTES_AT_A_TIME = 2**20

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
        max_bytes: The limit of the file, of all constants in it together, and of every tensor.
        runtime: Where the file runs: in this process, which a file from elsewhere may end, or as `load` says.

    Attributes:
        input_shapes: Name of an input -> shape of one example; in the order that a list of inputs has.

    Raises:
        InputError: The bytes are not such a file, or the runtime cannot run it.
    """

    def __init__(
        self,
        content: bytes,
        source: str = "content",
        *,
        max_bytes: int = MAX_BYTES,
        runtime: Callable[[bytes], Runtime | ChildRuntime] = Runtime,
    ) -> None:
        verify(content, source, max_bytes)
        self.source = source
        self._made_anew = functools.partial(TFLiteModel, content, source, max_bytes=max_bytes, runtime=runtime)
        with _refusing(source, f"a whole TensorFlow Lite file of {len(content):,} bytes"):
            self._runtime = runtime(content)
        inputs, outputs = self._runtime.inputs, self._runtime.outputs
        kinds = [each.dtype for each in (*inputs, *outputs)]
        if [each.dtype for each in outputs] != ["float32"] or not inputs or not set(kinds) <= _NUMBERS:
            raise InputError(
                source,
                expected="a file with inputs and one float32 output",
                received=f"{len(inputs)} inputs and {len(outputs)} outputs: {', '.join(kinds)}",
            )
        for each in inputs:
            if each.shape[:1] != (1,):
                raise InputError(
                    source,
                    expected="a file that takes one image at a time",
                    received=f"an input of shape {each.shape}",
                    remedy="Convert the model with a batch of one.",
                )
        self.input_shapes: dict[str, tuple[int, ...]] = {each.name: each.shape[1:] for each in inputs}

    def __reduce__(self) -> tuple[Callable[[], TFLiteModel], tuple[()]]:
        # The runtime stays in its process.
        return self._made_anew, ()

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
            InputError: The images have another shape or dtype than the file takes, or the runtime cannot compute them.
        """
        subject = f"images for {self.source}"
        given = in_order(images, list(self.input_shapes), subject)
        arrays = [as_dtype(a, each.dtype, subject) for a, each in zip(given, self._runtime.inputs, strict=True)]
        for array, shape in zip(arrays, self.input_shapes.values(), strict=True):
            if array.ndim < 1 or array.shape[1:] != shape or not len(array) == len(arrays[0]) > 0:
                raise InputError(
                    subject,
                    expected=f"at least one image of shape {shape}, in an array",
                    received=f"shape {array.shape}",
                )
        with _refusing(self.source, "a file with one row of outputs for each image"):
            outputs: npt.NDArray[np.float32] = self._runtime.run(arrays)
        return outputs


@contextlib.contextmanager
def _refusing(source: str, expected: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise InputError(
            source,
            expected=f"{expected} that the installed runtime can run",
            received=f"one that it fails on ({' '.join(str(error).split())[:_SHOWN]})",
            remedy="The file may be damaged: export the model again.",
        ) from error


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


@typed
def load(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> TFLiteModel:
    """Open a TensorFlow Lite file, compressed (.gz, .xz) or not, as a function from images to logits.

    The parts of the file have to hold together, and its checksum to be right if it has one. A file that this process
    has not written itself runs in a child process, which takes 0.2 s to start: the runtime is native code, and what it
    falls over ends that process and not this one.

    Args:
        path: The file.
        max_bytes: The limit of the decompressed file, of all constants in it together, and of every tensor. The child
            process may take 8 times as much memory.
        seconds: The limit of the child process for loading, and for each image.

    Raises:
        InputError: The file is missing, truncated, damaged or of another kind, exceeds a limit, or the runtime cannot
            run it.
    """
    real("seconds", seconds)
    content = read_file(path, max_bytes)
    child = functools.partial(ChildRuntime, seconds=seconds, memory=MEMORY * max_bytes)
    runtime = Runtime if is_known(content) else child
    return TFLiteModel(content, str(path), max_bytes=max_bytes, runtime=runtime)


def is_tflite(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a TensorFlow Lite file by its name, be it compressed or not.

    Example:
        >>> is_tflite("small.tflite.xz"), is_tflite("small.keras")
        (True, False)
    """
    return ".tflite" in Path(path).suffixes


def read_file(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a TensorFlow Lite file; one whose name ends in .gz or .xz is decompressed.

    Raises:
        InputError: The file is missing, or no whole compressed file, or it exceeds the limit.
    """
    expected = "a readable TensorFlow Lite file"
    whole("max_bytes", max_bytes)
    try:
        if not Path(path).is_file():  # A pipe or device may never end.
            raise FileNotFoundError("no such file")
        size = Path(path).stat().st_size
        if size > max_bytes:
            content = b""
        elif Path(path).suffix in _DECOMPRESSORS:
            content = _decompressed(Path(path), max_bytes)
            size = len(content)
        else:
            content = Path(path).read_bytes()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, MemoryError) as error:
        remedy = "If it is truncated, export the model again."
        raise InputError(str(path), expected=expected, received=str(error), remedy=remedy) from error
    if size > max_bytes:
        expected = f"{expected} of at most {max_bytes:,} bytes"
        raise InputError(str(path), expected=expected, received="more", remedy=RAISE)
    return content


def _decompressed(path: Path, max_bytes: int) -> bytes:
    """Return what a file decompresses to, or as much of it as is beyond the limit."""
    decompressor = _DECOMPRESSORS[path.suffix](max_bytes)
    pieces, size, read = [], 0, b""
    with path.open("rb") as file:
        while not decompressor.eof and size <= max_bytes:
            if not read and getattr(decompressor, "needs_input", True) and not (read := file.read(_BYTES_AT_A_TIME)):
                break
            pieces.append(decompressor.decompress(read, min(_BYTES_AT_A_TIME, max_bytes + 1 - size)))
            size += len(pieces[-1])
            read = getattr(decompressor, "unconsumed_tail", b"")
        if size <= max_bytes and (not decompressor.eof or decompressor.unused_data or file.read(1)):
            raise EOFError("it does not end where it should")
    return b"".join(pieces)


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


def _warm_interpreter(content: bytes, threads: int) -> Any:
    interpreter = Runtime(content, threads).interpreter
    with without_native_messages():
        # What happens to be in memory may be denormal numbers, which some kernels are several times slower with.
        for tensor in interpreter.get_input_details():
            values = np.random.default_rng(0).random(tensor["shape"])
            interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
        interpreter.invoke()
    return interpreter
