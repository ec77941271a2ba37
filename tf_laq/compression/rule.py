"""What a file has to keep to be recommended."""

from __future__ import annotations

import dataclasses

from tf_laq._internal.validation import real, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What a file has to keep to be recommended; the smallest that does is.

    Attributes:
        max_loss: Most points of accuracy that the file may lose against the original model, in the worst case and
            without an attack, on the same images.
        max_bytes: Largest file; None for any.

    Raises:
        InputError: A limit is out of range.
    """

    max_loss: float = 1.0
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        real("max_loss", self.max_loss, maximum=100.0)
        if self.max_bytes is not None:
            whole("max_bytes", self.max_bytes)

    def __str__(self) -> str:
        most = "" if self.max_bytes is None else f" of at most {self.max_bytes:,} bytes"
        return f"the smallest file{most} that loses at most {points(self.max_loss)}"


def points(number: float) -> str:
    """Return a number of percentage points in words.

    Example:
        >>> points(1.0), points(2.5)
        ('1 point', '2.5 points')
    """
    return f"{number:g} point{'' if number == 1 else 's'}"
