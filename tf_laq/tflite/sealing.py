"""The checksum that a TensorFlow Lite file carries: of all its bytes but those of the checksum itself."""

from __future__ import annotations

import hashlib
from typing import Any

from tf_laq.tflite.structure import UnsoundError

NAME = "tf_laq_sha256"
"""The name of the file's metadata that holds it, 32 bytes."""

BLANK = hashlib.sha256(NAME.encode()).digest()
"""What stands for the checksum when it is computed. Zeros would do, but a writer may store them once with others."""


def sealed(content: bytes) -> bytes:
    """Return a file that has `BLANK` as its checksum with the right one."""
    place = content.index(BLANK)
    return content[:place] + hashlib.sha256(content).digest() + content[place + len(BLANK) :]


def check_seal(content: bytes, model: Any) -> None:
    """Raise an `UnsoundError` if a file has a checksum and it is that of other bytes.

    Args:
        content: The file.
        model: Its tables.
    """
    if NAME.encode() not in content:
        return
    checksums = [bytes(_data(model, entry)) for entry in model.metadata or [] if entry.name == NAME]
    if len(checksums) != 1 or len(checksums[0]) != len(BLANK):
        raise UnsoundError(f"a checksum, {NAME}, that cannot be read")
    place = content.index(checksums[0])
    digest = hashlib.sha256(memoryview(content)[:place])
    digest.update(BLANK)
    digest.update(memoryview(content)[place + len(BLANK) :])
    if digest.digest() != checksums[0]:
        raise UnsoundError(f"content that does not fit its checksum, {NAME}")


def _data(model: Any, entry: Any) -> Any:
    data = model.buffers[entry.buffer].data if entry.buffer < len(model.buffers or []) else None
    return b"" if data is None else data
