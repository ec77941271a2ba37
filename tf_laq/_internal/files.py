"""Writing files so that a killed or failed run leaves either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
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
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".writing-", dir=target.parent)
    except OSError as error:
        raise InputError(
            "path",
            expected="a place that can be written",
            received=f"{target} ({error.strerror})",
            remedy="Choose another path or change the folder's permissions.",
        ) from error
    temporary = Path(folder) / target.name
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
