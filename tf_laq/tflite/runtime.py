"""The stock runtime with a file in it: in this process, or in a child process that may fall, hang or fill its memory.

The runtime is native code. What no check of a file has found can still end the process in which it runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal.messages import without_native_messages

SECONDS = 15.0
"""How long a child process may take to load a file, and for each image."""

MEMORY = 8
"""How many times the limit of a file a child process may take in memory: decoded weights, and the kernels' copies."""

_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from tf_laq.tflite.runtime import serve; serve()"
_TIMED_OUT = 1
_WRITTEN: set[bytes] = set()

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An input or output of a file: its name, its number, its shape with the batch, and its dtype's name."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str


class Runtime:
    """The stock runtime with a file, in this process.

    Attributes:
        inputs: What the file takes.
        outputs: What it gives.

    Raises:
        ValueError, RuntimeError: The runtime refuses the file.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with without_native_messages():
            self.interpreter = Interpreter(model_content=content, num_threads=threads)
            self.interpreter.allocate_tensors()
        names = _signature_names(self.interpreter)
        self.inputs = [_endpoint(each, names) for each in self.interpreter.get_input_details()]
        self.outputs = [_endpoint(each, {}) for each in self.interpreter.get_output_details()]

    def run(self, inputs: Sequence[Array], each: Callable[[], object] = lambda: None) -> Array:
        """Return the rows of the first output, for images that go through one by one.

        Args:
            inputs: As many rows of each input.
            each: Called before each image.

        Raises:
            ValueError, RuntimeError: The runtime cannot compute it, or the output is not one row for each image.
        """
        rows = []
        for index in range(len(inputs[0])):
            each()
            # Recurrent layers keep their state from one image to the next, which the Keras model does not.
            self.interpreter.reset_all_variables()
            for endpoint, values in zip(self.inputs, inputs, strict=True):
                self.interpreter.set_tensor(endpoint.index, values[index : index + 1])
            self.interpreter.invoke()
            rows.append(self.interpreter.get_tensor(self.outputs[0].index))
        shapes = {row.shape for row in rows}
        if len(shapes) > 1 or rows[0].shape[:1] != (1,):
            raise ValueError(f"outputs of shape {', '.join(map(str, shapes))}")
        return np.concatenate(rows)


class ChildRuntime:
    """What `Runtime` is, in a child process.

    Args:
        content: The file.
        seconds: How long loading may take, and each image.
        memory: How many bytes of memory the process may take, where the system has such limits.

    Raises:
        ValueError, RuntimeError: The runtime refuses the file, or the process has ended.
    """

    def __init__(self, content: bytes, seconds: float, memory: int) -> None:
        self._content = content
        self._settings = {"seconds": seconds, "memory": memory}
        self._process: subprocess.Popen[bytes] | None = None
        with self._exchange():
            pass

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[subprocess.Popen[bytes]]:
        """Give the process, which is started if there is none, and end it if an exchange with it breaks off."""
        try:
            if self._process is None:
                self._start()
            assert self._process is not None
            yield self._process
        except BaseException as error:
            code = self._end()
            if isinstance(error, (EOFError, OSError)):
                raise RuntimeError(self._why(code)) from error
            raise

    def _start(self) -> None:
        child = [sys.executable, "-I", "-c", _CHILD, *map(str, sys.path)]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(child, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise RuntimeError(f"its process cannot be started: {error}") from error
        self._finalizer = weakref.finalize(self, _ended, self._process)
        _send(_stream(self._process.stdin), json.dumps(self._settings).encode(), self._content)
        found = json.loads(_received(_answers(self._process)))
        self.inputs, self.outputs = ([_from_json(each) for each in found[name]] for name in ("inputs", "outputs"))

    def _end(self) -> int:
        code = 0
        if self._process is not None:
            self._finalizer.detach()
            code = _ended(self._process)
            self._process = None
        return code

    def _why(self, code: int) -> str:
        if code == _TIMED_OUT:
            return f"it takes more than {self._settings['seconds']:g} seconds"
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        return f"its process ended by {name}"

    def run(self, inputs: Sequence[Array]) -> Array:
        """Return what `Runtime.run` returns."""
        with self._exchange() as process:
            _send(_stream(process.stdin), *(part for values in inputs for part in _packed(values)))
            return _unpacked(_answers(process), self.outputs[0].dtype).copy()  # To be written to.


def wrote(content: bytes) -> None:
    """Remember that this process made a file, and ran it."""
    _WRITTEN.add(hashlib.sha256(content).digest())


def is_known(content: bytes) -> bool:
    """Return whether this process made a file."""
    return hashlib.sha256(content).digest() in _WRITTEN


def serve() -> None:
    """Run a file for the process that started this one, until that closes the pipe."""
    source = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What native code prints is no answer.
    with contextlib.suppress(EOFError, BrokenPipeError), _reporting(answers):
        settings = json.loads(_received(source))
        content = _received(source)
        _limit_memory(settings["memory"])
        with _Watch(settings["seconds"]) as watch:
            runtime = Runtime(content)
        found = {name: list(map(dataclasses.asdict, getattr(runtime, name))) for name in ("inputs", "outputs")}
        _send(answers, b"+", json.dumps(found).encode())
        while True:
            inputs = [_unpacked(source, each.dtype) for each in runtime.inputs]
            with watch:
                output = runtime.run(inputs, watch.renew)
            _send(answers, b"+", *_packed(output))


@contextlib.contextmanager
def _reporting(answers: IO[bytes]) -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # Whatever it is goes to the process that asked.
        _send(answers, b"-", f"{error or type(error).__name__}".encode())


class _Watch:
    """Ends the process if something takes longer than some seconds, native code included."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = 0.0
        self._nowhere = os.open(os.devnull, os.O_WRONLY)

    def __enter__(self) -> _Watch:
        self._started = time.monotonic()
        # A second more: it is not renewed before.
        faulthandler.dump_traceback_later(self._seconds + 1, exit=True, file=self._nowhere)
        return self

    def renew(self) -> None:
        """Begin to count anew. This takes a thread, and therefore happens once a second at most."""
        if time.monotonic() > self._started + 1:
            self.__enter__()

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()


def _limit_memory(more: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # Linux and the like have it.
        import resource

        with Path("/proc/self/statm").open() as sizes:
            now = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ended(process: subprocess.Popen[bytes]) -> int:
    """End a process, if it has not ended by itself, and return its code."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # Of what it has not read.
            _stream(stream).close()
    return process.wait()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _send(stream: IO[bytes], *parts: bytes | memoryview) -> None:
    for part in parts:
        stream.write(struct.pack("<Q", len(part)))
        stream.write(part)
    stream.flush()


def _received(stream: IO[bytes]) -> bytes:
    (size,) = struct.unpack("<Q", _exactly(stream, 8))
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _answers(process: subprocess.Popen[bytes]) -> IO[bytes]:
    """Return the stream of a process's answer, if that is one and not an error."""
    stream = _stream(process.stdout)
    if _received(stream) != b"+":
        raise RuntimeError(_received(stream).decode("utf-8", "replace"))
    return stream


def _packed(array: Array) -> tuple[bytes, memoryview]:
    """Return the shape and the values of an array."""
    return struct.pack(f"<{array.ndim}q", *array.shape), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _unpacked(stream: IO[bytes], dtype: str) -> Array:
    shape = _received(stream)
    return np.frombuffer(_received(stream), dtype).reshape(struct.unpack(f"<{len(shape) // 8}q", shape))


def _endpoint(details: Any, names: dict[int, str]) -> Endpoint:
    index = int(details["index"])
    shape = tuple(int(side) for side in details["shape"])
    return Endpoint(names.get(index, details["name"]), index, shape, np.dtype(details["dtype"]).name)


def _from_json(content: dict[str, Any]) -> Endpoint:
    return Endpoint(**{**content, "shape": tuple(content["shape"])})


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Return tensor index -> name of the input in the file's only signature."""
    if len(interpreter.get_signature_list()) != 1:
        return {}
    details = interpreter.get_signature_runner().get_input_details()
    return {each["index"]: name for name, each in details.items()}
