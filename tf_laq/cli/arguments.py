"""What the commands' arguments stand for: lists, numbers, paths by name, settings by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_laq import quantizers
from tf_laq.errors import InputError
from tf_laq.quantizers import Quantizer
from tf_laq.saving import load_model


def parse_overrides(text: str) -> dict[str, Quantizer | None]:
    """Return "pattern=quantizer:bits,pattern=float32" as the argument `overrides` of `laq.search`.

    Raises:
        InputError: A part has another form, or there is no such quantizer or bit width.

    Example:
        >>> parse_overrides("conv1=linear:8,dense*=float32")
        {'conv1': Linear(bits=8), 'dense*': None}
    """
    found: dict[str, Quantizer | None] = {}
    for part in words(text):
        pattern, _, setting = part.rpartition("=")
        name, _, bits = setting.partition(":")
        if not pattern or (setting != "float32" and not bits.isdigit()):
            expected = '"layer=quantizer:bits" or "layer=float32"'
            raise InputError("overrides", expected=expected, received=repr(part))
        found[pattern] = None if setting == "float32" else quantizers.get(name, int(bits))
    return found


def load_models(text: str, argument: str) -> Mapping[str, Any]:
    """Return "name=path,path" as models by name; without a name, a model has its file's.

    A path that ends in .tflite, .tflite.gz or .tflite.xz is a TensorFlow Lite file, any other a tf_keras model.

    Raises:
        InputError: Two models have the same name, or a file cannot be loaded.
    """
    return {name: _load(path) for name, path in named_paths(text, argument).items()}


def named_paths(text: str, argument: str) -> dict[str, str]:
    """Return "name=path,path" as paths by name; without a name, a path has its file's.

    Raises:
        InputError: Two paths have the same name, or a part has another form.
    """
    paths: dict[str, str] = {}
    for part in words(text):
        name, equals, path = part.partition("=")
        name, path = (name, path) if equals else (Path(part).stem, part)
        if name in paths or not name or not path:
            expected = "paths, or name=path, each name once"
            raise InputError(argument, expected=expected, received=repr(text))
        paths[name] = path
    return paths


def _load(path: str) -> Any:
    if ".tflite" in Path(path).suffixes:
        from tf_laq import tflite

        return tflite.load(path)
    return load_model(path)


def words(text: str) -> list[str]:
    """Return the parts of a text that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str, argument: str) -> list[float]:
    """Return the numbers of a text that commas separate.

    Raises:
        InputError: There is none, or a part is no number.
    """
    try:
        return [float(part) for part in words(text)] or [float("")]
    except ValueError:
        raise InputError(argument, expected="numbers, separated by commas", received=repr(text)) from None


def check_ending(path: str, ending: str, argument: str) -> None:
    """Raise an `InputError` if a file name has another ending."""
    if Path(path).suffix != ending:
        raise InputError(argument, expected=f"a file name that ends in {ending}", received=repr(path))
