"""What the arguments of commands stand for: lists, numbers, models and plans by name, images, settings by layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tf_laq import datasets
from tf_laq._internal.unreadable import Remedies
from tf_laq._internal.validation import one_of, whole
from tf_laq.datasets import Split
from tf_laq.errors import InputError
from tf_laq.saving import read_model, save_model


def parse_overrides(text: str) -> dict[str, str | None]:
    """Return a JSON object as the argument `overrides` of `laq.search`.

    Raises:
        InputError: The text is no JSON object.

    Example:
        >>> parse_overrides('{"conv*": "linear:8", "dense*": "float32"}')
        {'conv*': 'linear:8', 'dense*': 'float32'}
    """
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        expected = """a JSON object such as '{"conv*": "linear:8", "dense*": "float32"}'"""
        raise InputError("overrides", expected=expected, received=text)
    return found


_ON_THE_COMMAND_LINE = Remedies(
    unknown="The command line knows no classes and functions of your own: load the model in Python with "
    "laq.load_model(path, custom_objects={{'{name}': {name}}}).",
    unsafe="To load it may run code that came with it: pass --unsafe if you trust the file.",
)


def load_model(path: str, unsafe: bool = False) -> Any:
    """Return a saved Keras model; one that may run code from its file, as a Lambda layer does, only with `unsafe`.

    Raises:
        InputError: The file cannot be loaded.
    """
    return read_model(path, safe_mode=not unsafe, remedies=_ON_THE_COMMAND_LINE)


def load_classifiers(text: str, argument: str, settings: Mapping[str, Any], unsafe: bool = False) -> Mapping[str, Any]:
    """Return "name=path,path" as classifiers of these settings by name; without a name, a model has its file's.

    A path that ends in .tflite, .tflite.gz or .tflite.xz is a TensorFlow Lite file, any other a Keras model.

    Raises:
        InputError: Two models have the same name, or a file cannot be loaded.
    """
    from tf_laq.evaluation import Classifier

    models = {name: _load(path, unsafe) for name, path in named_paths(text, argument).items()}
    return {name: Classifier(model, **settings) for name, model in models.items()}


def seam_settings(output: str, outputs: str, bounds: str, data_format: str) -> dict[str, Any]:
    """Return the settings of a `Classifier`; empty texts are those that it finds by itself."""
    return {
        "output": int(output) if output.isdecimal() else output or None,
        "outputs": outputs or None,
        "bounds": tuple(numbers(bounds, "bounds")) if bounds else None,
        "data_format": data_format,
    }


def expected_clean(models: str, dataset: str) -> dict[str, float]:
    """Return the clean accuracy on the data set that is on the card beside a model, for those that have a card."""
    from tf_laq.models.pretrained import CARD, Card

    paths = {name: Path(path).parent / CARD for name, path in named_paths(models, "models").items()}
    cards = {name: Card.load(path) for name, path in paths.items() if path.is_file()}
    scores = {name: card.clean_accuracy for name, card in cards.items() if card.dataset == dataset}
    return {name: score for name, score in scores.items() if score is not None}


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


def _load(path: str, unsafe: bool) -> Any:
    if ".tflite" in Path(path).suffixes:
        from tf_laq import tflite

        return tflite.load(path)
    return load_model(path, unsafe)


def first_images(
    dataset: str, part: Literal["train", "test"], count: int, argument: str = "examples", *, download: bool = False
) -> Split:
    """Return the first images of a part of a data set with their labels: `count`, or all if there are fewer.

    Raises:
        InputError: There is no such data set, its files are missing, or the count is not a whole number of at least 1.
    """
    whole(argument, count)
    one_of("dataset", dataset, datasets.names())
    split: Split = getattr(datasets.load(dataset, download=download), part)
    return Split(split.images[:count], split.labels[:count])


def save(model: Any, out: str, about: str = "") -> None:
    """Save what a command made of a model, and print where it is and how to go on."""
    save_model(model, out)
    print(f"{out}: {about}see laq evaluate for its accuracy")


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


def check_ending(path: str, ending: str, argument: str = "out") -> None:
    """Raise an `InputError` if a file name has another ending."""
    if Path(path).suffix != ending:
        raise InputError(argument, expected=f"a file name that ends in {ending}", received=repr(path))
