"""Writing files so that a killed or failed run leaves either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tf_laq.errors import InputError


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
            target.replace(temporary.parent.with_name("old"))
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
    """Give a path of the same name in a temporary folder beside a path; the folder is removed at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".writing-", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    # A folder that was there is kept as "old" until the new one is in its place.
    temporary = Path(folder, "new", target.name)
    temporary.parent.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(
        "path",
        expected="a place that can be written",
        received=f"{target} ({error.strerror})",
        remedy="Choose another path or change the folder's permissions.",
    )


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
