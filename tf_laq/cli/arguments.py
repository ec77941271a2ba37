"""What the arguments of commands stand for: lists, numbers, models and plans by name, images, settings by layer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tf_laq import datasets
from tf_laq._internal.messages import print_now
from tf_laq._internal.unreadable import Remedies
from tf_laq._internal.validation import whole
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError
from tf_laq.saving import read_model, save_model
from tf_laq.tflite.running import is_tflite

if TYPE_CHECKING:
    from tf_laq.attacks import Battery
    from tf_laq.training import Recipe


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


def load_classifiers(
    text: str, argument: str, settings: Mapping[str, Any], dataset: Dataset, unsafe: bool = False
) -> Mapping[str, Any]:
    """Return "name=path,path" as classifiers of these settings by name; without a name, a model has its file's.

    A path that ends in .tflite, .tflite.gz or .tflite.xz is a TensorFlow Lite file, any other a Keras model.

    Raises:
        InputError: Two models have the same name, a file cannot be loaded, or a model is not one of the data set's
            images and classes.
    """
    from tf_laq.evaluation import Classifier
    from tf_laq.evaluation.classifier import settled_on

    models = {name: _load(path, unsafe) for name, path in named_paths(text, argument).items()}
    classifiers = {name: Classifier(model, **settings) for name, model in models.items()}
    for name, classifier in classifiers.items():
        settled_on(classifier, dataset, f"{argument}[{name!r}]")
    return classifiers


def seam_settings(output: str, outputs: str, bounds: str, data_format: str) -> dict[str, Any]:
    """Return the settings of a `Classifier`; empty texts are those that it finds by itself."""
    return {
        "output": int(output) if output.isdecimal() else output or None,
        "outputs": outputs or None,
        "bounds": tuple(numbers(bounds, "bounds")) if bounds else None,
        "data_format": data_format,
    }


@dataclasses.dataclass(frozen=True)
class DataArguments:
    """The data set that a command is about, by its arguments.

    Args:
        data: Name or path, as for `datasets.load`.
        size: One number, or height and width with a comma or an x between them; empty for the images' own.
        data_dir: Folder of TensorFlow Datasets; empty for the one that the environment names.
        download: Whether to download what is not there.

    Raises:
        InputError: There is no such data set, or the size is no size.
    """

    data: str
    size: str = ""
    data_dir: str = ""
    download: bool = False

    def __post_init__(self) -> None:
        datasets.check_source(self.data, **self._place)
        self._sides()

    def __repr__(self) -> str:
        return repr(self.data)

    @property
    def _place(self) -> dict[str, Any]:
        return {"data_dir": self.data_dir or None, "download": self.download}

    def _sides(self) -> datasets.Size | None:
        sides = self.size.replace("x", ",").split(",") if self.size else []
        if not all(side.isdecimal() for side in sides) or len(sides) > 2:
            expected = "a number of pixels, or height and width, such as 96 or 96,128"
            raise InputError("size", expected=expected, received=repr(self.size))
        return (int(sides[0]), int(sides[-1])) if sides else None

    def load(self, seed: int = 0) -> Dataset:
        """Return the data set; the seed chooses the validation images."""
        return datasets.load(self.data, size=self._sides(), seed=seed, **self._place)


def battery_of(data: str, preset: str, epsilon: str, norm: str) -> Battery:
    """Return the battery of a radius, or without one the preset of a data set.

    Raises:
        InputError: There is no radius for data without presets, or for a norm other than theirs; or an argument is out
            of range.
    """
    from tf_laq.attacks import Battery

    return Battery.of_data(data, preset, epsilon=radius_of(epsilon), norm=norm)


def recipe_of(data: str, name: str, epsilon: str, norm: str, epochs: int | None = None) -> Recipe:
    """Return a recipe for a data set, in another ball and with other epochs if these are given.

    Raises:
        InputError: There is no such recipe, an argument is out of range, or there is no radius for data without recipes
            of their own.
    """
    from tf_laq.training import recipe

    found = recipe(data, name, epsilon=radius_of(epsilon), norm=norm)
    return found if epochs is None else dataclasses.replace(found, epochs=epochs)


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
    if is_tflite(path):
        from tf_laq import tflite

        return tflite.load(path)
    return load_model(path, unsafe)


def first_images(dataset: Dataset, part: Literal["train", "test"], count: int, argument: str = "examples") -> Split:
    """Return the first images of a part of a data set with their labels: `count`, or all if there are fewer.

    A line says so if test images are only the part that was set aside as such.

    Raises:
        InputError: The part has no images, or the count is not a whole number of at least 1.
    """
    whole(argument, count)
    split: Split = getattr(dataset, part)
    if not len(split):
        raise InputError(f"data set {dataset.name}", expected="training images", received="none")
    if part == "test" and dataset.set_aside:
        total = len(dataset.train) + len(dataset.validation) + len(split)
        print_now(f"{len(split):,} of the {total:,} images of {dataset.name}: the part set aside as test images")
    return Split(split.images[:count], split.labels[:count])


def save(model: Any, out: str, about: str = "") -> None:
    """Save what a command made of a model, and print where it is and how to go on."""
    save_model(model, out)
    print(f"{out}: {about}see laq evaluate for its accuracy")


def words(text: str) -> list[str]:
    """Return the parts of a text that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def number(text: str, argument: str) -> float:
    """Return the number that a text has as a decimal or as a fraction.

    Raises:
        InputError: It has none.

    Example:
        >>> number("8/255", "epsilon") == 8 / 255
        True
        >>> number("0.3", "epsilon")
        0.3
    """
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InputError(argument, expected="a number such as 0.3 or 8/255", received=repr(text)) from None


def radius_of(text: str) -> float | None:
    """Return the radius that a text has; None if it is empty."""
    return number(text, "epsilon") if text else None


def numbers(text: str, argument: str) -> list[float]:
    """Return the numbers of a text that commas separate, each as in `number`.

    Raises:
        InputError: There is none, or a part is no number.
    """
    try:
        return [number(part, argument) for part in words(text)] or [float("")]
    except (ValueError, InputError):
        raise InputError(argument, expected="numbers, separated by commas", received=repr(text)) from None


def check_ending(path: str, ending: str, argument: str = "out") -> None:
    """Raise an `InputError` if a file name has another ending."""
    if Path(path).suffix != ending:
        raise InputError(argument, expected=f"a file name that ends in {ending}", received=repr(path))
