"""Writing files so that a killed or failed run leaves either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tf_laq.errors import InputError

_UNFINISHED = ".writing-"
_LOCK = "lock"
_ALL, _READY = "all", "ready"
_SECONDS_OF_A_RUN = 24 * 60 * 60
_NO_SPACE = [os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)]


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
    _check_no_folder(target)
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
def replacing_together(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder; on success all files in it take their places in `folder`, on an error none does.

    A run that is killed while they do leaves the rest to `sweep`.

    Args:
        folder: Where the files belong. It is made if it is missing.

    Yields:
        An empty folder, to be filled with files and folders by the caller.

    Raises:
        InputError: The folder cannot be written, or a file has the name of a folder in it.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing_together(folder) as temporary:
        ...     for name in ("model.keras", "model.plan.json"):
        ...         _ = (temporary / name).write_text("{}")
        >>> sorted(p.name for p in folder.iterdir())
        ['model.keras', 'model.plan.json']
    """
    with _beside(Path(folder) / _ALL) as temporary:
        temporary.mkdir()
        yield temporary
        for _, target in _with_places(temporary, Path(folder)):
            _check_no_folder(target)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(target, error) from error
        temporary.replace(temporary.parent.with_name(_READY))


def _with_places(made: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Return the files in a folder, each with its place in another one."""
    return [(file, folder / file.relative_to(made)) for file in made.rglob("*") if file.is_file()]


def _check_no_folder(target: Path) -> None:
    """Raise an `InputError` if a file is to be written where a folder is."""
    if target.is_dir():
        raise InputError("path", expected="a file", received=f"the folder {target}", remedy="Add a file name.")


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other runs from writing a file for as long as this one is at work on it.

    The system ends the lock with the process, however that ends.

    Raises:
        InputError: Another run holds the lock, the place cannot be written, or `path` is a folder.
    """
    from filelock import FileLock, Timeout

    target = Path(path)
    _check_no_folder(target)
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            "path",
            expected="a file that no other run is writing",
            received=f"{target}, which another run is writing",
            remedy="Wait until it ends, or choose another path.",
        ) from None
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file.
            Path(lock.lock_file).unlink()
        lock.release()


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a path of the same name in a temporary folder beside a path; the folder is removed at the end.

    Raises:
        InputError: The place cannot be written, the disk is full, or a file gets larger than allowed.
    """
    with contextlib.ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent)
            folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
            stack.callback(_remove, folder)
            stack.enter_context(_lock(folder))
            stack.callback(_settle, folder)
            # A folder that was there is kept as "old" until the new one is in its place.
            (folder / "new").mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        try:
            yield folder / "new" / target.name
        except InputError:
            raise
        except Exception as error:
            if is_out_of_space(error):
                raise _unwritable(target, error) from error
            raise


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what killed runs left of their writing in a folder, and put what they had set aside or done in its place.

    A run holds a lock in what it writes, which ends with its process. Without a lock there is only what a run is about
    to lock, which is empty and which it makes again, and what versions before the lock left.
    """
    from filelock import Timeout

    for left in Path(folder).glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError, Timeout):  # In use, of another user, or removed by another run.
            if (left / _LOCK).exists() or time.time() - left.stat().st_mtime > _SECONDS_OF_A_RUN:
                with _lock(left):
                    _settle(left)
                _remove(left)
            else:
                left.rmdir()


def sweep_tree(folder: str | os.PathLike[str]) -> None:
    """Do what `sweep` does in a folder of this package's own and all folders in it."""
    for parent in {left.parent for left in Path(folder).rglob(f"{_UNFINISHED}*")}:
        sweep(parent)


def _lock(folder: Path) -> contextlib.AbstractContextManager[object]:
    from filelock import FileLock

    return FileLock(folder / _LOCK, timeout=0)


def _settle(unfinished: Path) -> None:
    """Put files that are complete in their places, and back a folder that a new one did not take the place of."""
    for file, target in _with_places(unfinished / _READY, unfinished.parent):
        file.replace(target)
    for old in (unfinished / "old").glob("*"):
        if not (unfinished.parent / old.name).exists():
            old.replace(unfinished.parent / old.name)


def _remove(unfinished: Path) -> None:
    """Remove what is left of a writing, its lock last: without it `sweep` takes the folder for one that is new."""
    for part in unfinished.iterdir():
        if part.name != _LOCK:
            shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(unfinished, ignore_errors=True)


def is_out_of_space(error: BaseException) -> bool:
    """Return whether an error, of whatever library, comes from a full disk or a limit on the size of files.

    HDF5 and TensorFlow have errors of their own with the system's words in them, and errors that follow from those.
    """
    before = error.__cause__ or error.__context__
    return any(words in str(error) for words in _NO_SPACE) or (before is not None and is_out_of_space(before))


def check_temporary(error: BaseException) -> None:
    """Raise an `InputError` if an error comes from a full folder of temporary files, where libraries write too."""
    if is_out_of_space(error):
        raise InputError(
            "folder of temporary files",
            expected="enough space for the files of a model",
            received=f"{tempfile.gettempdir()} ({_shortage(error)})",
            remedy="Make space there, or name another folder by TMPDIR.",
        ) from error


def _shortage(error: BaseException) -> str:
    return next((words for words in _NO_SPACE if words in str(error)), _NO_SPACE[0])


def _unwritable(target: Path, error: Exception) -> InputError:
    # What is written as a part of several has a temporary place, which nobody knows.
    shown = Path(re.sub(rf"{re.escape(_UNFINISHED)}\w+.new.({_ALL}.)?", "", str(target)))
    if is_out_of_space(error):
        expected = "enough space for the file"
        remedy = "Make space, or choose a path on another disk. What was there before is unchanged."
        received = f"{shown} ({_shortage(error)})"
    else:
        expected = "a place that can be written"
        remedy = "Choose another path or change the folder's permissions."
        received = f"{shown} ({error.strerror if isinstance(error, OSError) else error})"
    return InputError("path", expected=expected, received=received, remedy=remedy)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
