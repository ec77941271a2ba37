"""Processes on this machine that work for a command."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import Connection

from tf_laq._internal.messages import imported_quietly
from tf_laq._internal.validation import whole


@contextlib.contextmanager
def executor_of(workers: int) -> Iterator[Executor | None]:
    """Give an executor of so many processes with one thread each; None for one, which is this one.

    They end with the block, at whatever they are, and with this process, however that ends.

    Raises:
        InputError: The number is not a whole number of at least 1.
    """
    whole("workers", workers)
    if workers == 1:
        yield None
        return
    # A fork would copy TensorFlow's locks, but not the threads that hold them.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(theirs,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        ours.close()


def _begin(pipe: Connection) -> None:
    from tqdm import tqdm

    # The lock of tqdm's own would be a semaphore of the system, which this process leaves behind when it is ended.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with, args=[pipe], daemon=True).start()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with imported_quietly("tensorflow"):
        import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with(pipe: Connection) -> None:
    """End this process when the other end of a pipe is closed, which a process does that is killed, too."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv_bytes()
    os._exit(1)
