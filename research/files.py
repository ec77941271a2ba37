"""Writing files so that a run that is killed leaves the old file or the whole new one."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders that it needs; text is written as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        temporary.replace(path)
