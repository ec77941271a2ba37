"""What is wrong with a command's arguments, found before TensorFlow is imported, which takes seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tf_laq import datasets
from tf_laq._internal.unreadable import check_content
from tf_laq._internal.validation import one_of
from tf_laq.cli.arguments import named_paths, words
from tf_laq.errors import InputError

StrPath = str | os.PathLike[str]


def check_new(*paths: StrPath, overwrite: bool, argument: str = "out") -> None:
    """Raise an `InputError` if a file that a command would write is there and is not to be replaced."""
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
    results = Path(folder) / "compression.json"
    if overwrite or (results.is_file() and json.loads(results.read_text(encoding="utf-8")).get("command") == command):
        return
    for path in (results, Path(folder) / "report.html"):
        if path.exists():
            raise InputError(
                "out",
                expected="a new folder, or one of the same command",
                received=f"{folder}, which has other results ({path.name})",
                remedy="Choose another folder, or replace them with --overwrite.",
            )


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
        if ".tflite" in Path(path).suffixes:
            from tf_laq.tflite.running import read_file

            read_file(path)
        else:
            check_models(path)


def _paths(lists: dict[str, str]) -> Iterator[str]:
    for argument, text in lists.items():
        yield from named_paths(text, argument).values()


def check_battery(dataset: str, preset: str, attacks: str) -> None:
    """Raise an `InputError` if a data set has no such preset, or the preset has no such column."""
    from tf_laq.attacks import presets

    if dataset in datasets.names():
        columns = presets.described(dataset, preset)["columns"]
        for name in words(attacks):
            one_of("column", name, columns)
