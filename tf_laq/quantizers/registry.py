"""Quantizers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tf_laq._internal.validation import whole
from tf_laq.errors import InputError
from tf_laq.quantizers.base import Quantizer

_registry: dict[str, type[Quantizer]] = {}
WIDEST = 16
"""Most bits that a quantizer may have."""

QuantizerClass = TypeVar("QuantizerClass", bound=type[Quantizer])


def register(cls: QuantizerClass) -> QuantizerClass:
    """Make a quantizer class known under its `name`: to the search, the plan, the command line and the export."""
    _registry[cls.name] = cls
    return cls


def unregister(name: str) -> None:
    """Forget the quantizer class of this name."""
    del _registry[name]


def names() -> tuple[str, ...]:
    """Return the names of all registered quantizers, in the order of their registration.

    Example:
        >>> names()[:2]
        ('linear', 'log')
    """
    return tuple(_registry)


def quantizer_class(name: str) -> type[Quantizer]:
    """Return the class registered under `name`.

    Raises:
        InputError: There is no such quantizer.
    """
    if not isinstance(name, str) or name not in _registry:
        raise InputError("quantizer", expected=f"one of {', '.join(_registry)}", received=repr(name))
    return _registry[name]


def get(name: str, bits: int) -> Quantizer:
    """Return the registered quantizer `name` with this bit width.

    Raises:
        InputError: There is no such quantizer, or it has no such bit width.

    Example:
        >>> get("linear", 3)
        Linear(bits=3)
    """
    return quantizer_class(name)(bits)


def parse(setting: str | Quantizer | None, argument: str = "setting") -> Quantizer | None:
    """Return the quantizer that a setting stands for: "linear:8", a quantizer itself, or None for float32.

    Args:
        setting: The setting.
        argument: How an error names it.

    Raises:
        InputError: It is none of these, or there is no such quantizer or bit width.

    Example:
        >>> parse("linear:8"), parse("float32")
        (Linear(bits=8), None)
    """
    if setting is None or isinstance(setting, Quantizer):
        return setting
    reason = ""
    if isinstance(setting, str):
        if setting == "float32":
            return None
        name, _, bits = setting.partition(":")
        if bits.isdigit():
            try:
                return get(name, int(bits))
            except InputError as error:
                reason = str(error)
    expected = '"quantizer:bits" such as "linear:8", "float32", or a quantizer'
    raise InputError(argument, expected=expected, received=repr(setting), remedy=reason)


def candidates(quantizers: Sequence[str] | None = None, max_bits: int | None = None) -> list[Quantizer]:
    """Return every setting of the named quantizers: one after the other, bits upward to `max_bits`.

    Args:
        quantizers: Names; None for all quantizers that are not `by_name_only`.
        max_bits: Widest setting; None for each quantizer's own.

    Raises:
        InputError: There is no such quantizer or bit width, or none of these quantizers is so narrow.

    Example:
        >>> candidates(["kmeans"], 3)
        [KMeans(bits=2), KMeans(bits=3)]
    """
    if quantizers is not None and not isinstance(quantizers, (list, tuple)):
        raise InputError("quantizers", expected='a list of names, such as ["linear"]', received=repr(quantizers))
    if max_bits is not None:
        whole("max_bits", max_bits, maximum=WIDEST)
    classes = (
        [cls for cls in _registry.values() if not cls.by_name_only]
        if quantizers is None
        else [quantizer_class(name) for name in quantizers]
    )
    found = [
        cls(bits) for cls in classes for bits in range(cls.min_bits, min(cls.max_bits, max_bits or cls.max_bits) + 1)
    ]
    if not found:
        narrowest = ", ".join(f"{cls.name} {cls.min_bits}" for cls in classes) or "no quantizer"
        raise InputError(
            "max_bits",
            expected="at least the fewest bits of one of the quantizers",
            received=f"{max_bits} (fewest bits: {narrowest})",
            remedy="Raise max_bits, or name other quantizers.",
        )
    return found
