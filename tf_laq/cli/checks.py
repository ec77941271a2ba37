"""What is wrong with a command's arguments, found before TensorFlow is imported, which takes seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tf_laq._internal import files
from tf_laq._internal.unreadable import check_content
from tf_laq._internal.validation import one_of
from tf_laq.cli.arguments import named_paths, radius_of, words
from tf_laq.compression.places import PAGE, RESULTS
from tf_laq.errors import InputError
from tf_laq.tflite.running import is_tflite, read_file

StrPath = str | os.PathLike[str]


def check_new(*paths: StrPath, overwrite: bool, argument: str = "out") -> None:
    """Raise an `InputError` if a file that a command would write is there and is not to be replaced.

    What an earlier run that was killed had ready is there too.
    """
    for folder in {Path(path).parent for path in paths}:
        files.sweep(folder)
    for path in paths:
        if Path(path).exists() and not overwrite:
            raise InputError(
                argument,
                expected="the name of a new file",
                received=f"{path}, which is there",
                remedy="Choose another name, or replace it with --overwrite.",
            )


def check_same_command(folder: StrPath, command: str, overwrite: bool) -> None:
    """Raise an `InputError` if a folder has the results of another `laq demo`, or of another command.

    Args:
        folder: The folder of the results.
        command: The command line that is to make them.
        overwrite: They are to be replaced.
    """
    results = Path(folder) / RESULTS
    if overwrite or _command_of(results) == command:
        return
    for path in (results, Path(folder) / PAGE):
        if path.exists():
            raise InputError(
                "out",
                expected="a new folder, or one of the same command",
                received=f"{folder}, which has other results ({path.name})",
                remedy="Choose another folder, or replace them with --overwrite.",
            )


def _command_of(results: Path) -> str | None:
    """Return the command line that made the results; None if they cannot be read."""
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("command") if isinstance(content, dict) else None


def check_file(path: StrPath, expected: str, remedy: str = "") -> None:
    """Raise an `InputError` if there is no file or folder of a name."""
    if not Path(path).exists():
        raise InputError(str(path), expected=expected, received="no such file", remedy=remedy)


def check_models(*paths: str) -> None:
    """Raise an `InputError` if a path is no file or folder of a kind that Keras loads."""
    for path in paths:
        check_file(path, "a saved Keras model")
        check_content(Path(path))


def check_classifiers(**lists: str) -> None:
    """Raise an `InputError` if in an argument, such as "name=path,path", a path is no model that can be attacked."""
    for path in _paths(lists):
        if is_tflite(path):
            read_file(path)
        else:
            check_models(path)


def _paths(lists: dict[str, str]) -> Iterator[str]:
    for argument, text in lists.items():
        yield from named_paths(text, argument).values()


def check_battery(data: str, preset: str, epsilon: str = "", norm: str = "linf", attacks: str = "") -> None:
    """Raise an `InputError` if there is no battery of a radius or data set, or it has no such column."""
    from tf_laq.attacks import presets

    columns = presets.described_for(data, preset, radius_of(epsilon), norm)["columns"]
    for name in words(attacks):
        one_of("column", name, columns)


def check_needed(needed: str, **given: object) -> None:
    """Raise an `InputError` if there is a value for an argument that means nothing without another.

    Args:
        needed: The other argument, which was not given.
        given: The arguments; those that were not given are None, False or empty.
    """
    for name, value in given.items():
        if value is not None and value is not False and value != "":
            remedy = f"Give --{needed} too, or leave --{name} out."
            raise InputError(name, expected=f"none without --{needed}", received=repr(value), remedy=remedy)
