"""What public functions accept, read off their annotations."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import numbers
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar

from tf_laq.errors import InputError

T = TypeVar("T", bound=Callable[..., Any])

_SCALARS: dict[Any, tuple[type, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}


def typed(function: T) -> T:
    """Let a function, or the constructor of a class, refuse arguments that are not of the annotated types.

    Numbers may be those of NumPy, and a list stands for a tuple. Arrays, models and whatever else is annotated more
    loosely is the function's own to check, as are ranges.

    Example:
        >>> @typed
        ... def search(layers: tuple[str, ...], max_bits: int | None = None) -> int: ...
        >>> search(["conv"], max_bits="8")
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: max_bits: expected a whole number or None. Received: '8'.
    """
    called = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    signature = inspect.signature(called)

    @functools.cache
    def hints() -> dict[str, Any]:
        names = vars(sys.modules[function.__module__])
        return {name: _resolved(each.annotation, names) for name, each in signature.parameters.items()}

    @functools.wraps(called)
    def checked(*args: Any, **options: Any) -> Any:
        for name, value in signature.bind(*args, **options).arguments.items():
            hint = hints()[name]
            if not _fits(value, hint):
                raise InputError(name, expected=_described(hint), received=repr(value))
        return called(*args, **options)

    if isinstance(function, type):
        function.__init__ = checked  # type: ignore[misc]
        return function
    return checked  # type: ignore[return-value]


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """Return what an annotation stands for; anything where a name is known to type checkers alone."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    try:
        return eval(annotation, names)
    except (NameError, AttributeError):
        return Any


def _fits(value: object, hint: Any) -> bool:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or getattr(hint, "_is_protocol", False):  # Of arrays.
        return True
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if hint is None or hint is types.NoneType:
        return value is None
    if hint is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's own.
    if hint in _SCALARS:
        return isinstance(value, _SCALARS[hint][0]) and not isinstance(value, bool)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind is collections.abc.Callable:
        return callable(value)
    if kind is os.PathLike:
        return isinstance(value, os.PathLike)
    if kind is collections.abc.Mapping:
        # What it maps to is the function's own to check, as it names the key.
        return isinstance(value, Mapping) and all(_fits(key, inner[0]) for key in value)
    if kind in (tuple, collections.abc.Sequence, collections.abc.Iterable):
        accepted = Iterable if kind is Iterable else (tuple, list)
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, accepted):
            return False
        if not isinstance(value, Collection):  # It can be read once only.
            return True
        if kind is tuple and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return all(_fits(each, inner[0]) for each in value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _described(hint: Any) -> str:
    """Return an annotation in words."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_described, inner)))
    if hint is None or hint is types.NoneType:
        return "None"
    if hint is bool:
        return "True or False"
    if hint in _SCALARS:
        return _SCALARS[hint][1]
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is collections.abc.Callable:
        return "a function"
    if kind is os.PathLike:
        return "a path"
    if kind is collections.abc.Mapping:
        return f"a mapping, each key of it {_described(inner[0])}"
    if kind in (tuple, collections.abc.Sequence, collections.abc.Iterable):
        if kind is tuple and inner[-1] is not Ellipsis:
            return f"({', '.join(map(_described, inner))})"
        return "a list of names" if inner[0] is str else f"a list, each of it {_described(inner[0])}"
    return f"a {hint.__name__}" if isinstance(hint, type) and hint is not Any else "any value"
