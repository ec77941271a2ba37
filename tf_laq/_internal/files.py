"""Writing files so that a killed or failed run leaves either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tf_laq.errors import InputError

_UNFINISHED = ".writing-"
_LOCK = "lock"
# A folder is this old before one without a lock counts as left behind.
_SECONDS_TO_LOCK = 60


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the name `path`, on an error it is removed.

    Args:
        path: The file to write. Missing folders are made.

    Yields:
        A path in the same folder and with the same ending, to be written by the caller.

    Raises:
        InputError: The folder cannot be written, or `path` is a folder.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "plan.json") as temporary:
        ...     _ = temporary.write_text("{}")
        >>> [p.name for p in folder.iterdir()]
        ['plan.json']
    """
    target = Path(path)
    if target.is_dir():
        raise InputError("path", expected="a file", received=f"the folder {target}", remedy="Add a file name.")
    with _beside(target) as temporary:
        yield temporary
        temporary.replace(target)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], marker: str) -> Iterator[Path]:
    """Do what `replacing` does for a folder; a folder already there is replaced if it is one of the same kind.

    Args:
        path: The folder to write.
        marker: A file that every folder of the kind has.

    Yields:
        A path in the same folder and with the same name, to be made by the caller.

    Raises:
        InputError: The place cannot be written, or holds something else.
    """
    target = Path(path)
    if target.exists() and not (target / marker).is_file():
        received = f"{target}, which is there and has no {marker}"
        raise InputError("path", expected="a new folder", received=received, remedy="Choose another name.")
    with _beside(target) as temporary:
        yield temporary
        if target.exists():
            old = temporary.parent.with_name("old")
            old.mkdir()
            target.replace(old / target.name)
        temporary.replace(target)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other runs from writing a file for as long as this one is at work on it.

    The system ends the lock with the process, however that ends.

    Raises:
        InputError: Another run holds the lock, the place cannot be written, or `path` is a folder.
    """
    from filelock import FileLock, Timeout

    target = Path(path)
    if target.is_dir():
        raise InputError("path", expected="a file", received=f"the folder {target}", remedy="Add a file name.")
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                "path",
                expected="a file that no other run is writing",
                received=f"{target}, which another run is writing",
                remedy="Wait until it ends, or choose another path.",
            ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file.
            Path(lock.lock_file).unlink()
        lock.release()


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a path of the same name in a temporary folder beside a path; the folder is removed at the end.

    The folder has a lock for as long as the process that made it lives, so that the next run can tell what a killed
    one left from what is being written.
    """
    from filelock import FileLock

    with contextlib.ExitStack() as stack:
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target.parent)
            folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(FileLock(folder / _LOCK))
            # A folder that was there is kept as "old" until the new one is in its place.
            (folder / "new").mkdir()
        with explained(target):
            yield folder / "new" / target.name


def _sweep(folder: Path) -> None:
    """Remove what killed runs left in a folder: it has no lock that lives, and is too old to be about to get one."""
    from filelock import FileLock, Timeout

    for left in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError, Timeout):  # Removed by another run, of another user, or in use.
            if time.time() - left.stat().st_mtime > _SECONDS_TO_LOCK or (left / _LOCK).exists():
                with FileLock(left / _LOCK, timeout=0):
                    _restore(left)
                    shutil.rmtree(left)


def _restore(left: Path) -> None:
    """Put a folder back that a run had taken away when it was killed before the new one was in its place."""
    for old in (left / "old").glob("*"):
        if not (left.parent / old.name).exists():
            old.replace(left.parent / old.name)


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Say of what goes wrong while a file is written, whatever library meets it, which file it is and what to do.

    Raises:
        InputError: The disk is full, a file gets larger than allowed, or the place cannot be written.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        remedy = "Choose another path or change the folder's permissions."
        if reason in _NO_SPACE:
            remedy = "Make space, or choose a path on another disk. What was there before is unchanged."
        raise InputError(
            "path", expected="a place that can be written", received=f"{target} ({reason})", remedy=remedy
        ) from error


_NO_SPACE = [os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)]


def is_of_disk(error: BaseException) -> bool:
    """Return whether an error, of whatever library, is one of the disk."""
    return _reason(error) is not None


def _reason(error: BaseException) -> str | None:
    """Return the words of the system for an error of the disk; None for any other error.

    HDF5 and TensorFlow raise errors of their own, which have these words in them, or come while another is handled.
    """
    if isinstance(error, OSError) and error.strerror in _NO_SPACE:
        return error.strerror
    for words in _NO_SPACE:
        if words in str(error):
            return words
    before = error.__cause__ or error.__context__
    found = None if before is None else _reason(before)
    return found or (error.strerror if isinstance(error, OSError) else None)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
