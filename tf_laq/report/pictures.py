"""Adversarial examples as a grid of pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_laq._internal.optional import of_extra
from tf_laq._internal.validation import whole
from tf_laq.errors import InputError

if TYPE_CHECKING:
    from tf_laq.evaluation import AdversarialExamples

DIFFERENCE_FACTOR = 10.0
EXAMPLES_WORDS = (
    "Adversarial examples",
    "For each model, the example that it is least right about, of all that it was shown, and what was changed, ten "
    "times as strong on grey. Below an image, the class that the model gives it, in orange where it is wrong, and the "
    "attack.",
)
"""The title and the caption of the grid of examples."""

_RIGHT, _WRONG = "#1d2733", "#B34700"
_GROUND = (0.91, 0.93, 0.95)
_INCHES = 1.15


class _Row(NamedTuple):
    """A row of pictures, with its name and the text below each."""

    name: str
    images: npt.NDArray[np.float32]
    texts: list[str]
    wrong: npt.NDArray[np.bool_]


def draw_examples(
    examples: Sequence[AdversarialExamples],
    *,
    count: int = 8,
    class_names: Sequence[str] | None = None,
) -> bytes:
    """Draw the same images for all models: clean, adversarial, and the difference times ten on grey.

    Under a clean image stands its true class; under an adversarial one the class that the model gives it, marked where
    that is wrong, and the column of the table that made it. Shown are the first images that all models classify
    correctly without an attack.

    Args:
        examples: The saved examples of one evaluation, one per model.
        count: Number of images; fewer if there are fewer.
        class_names: Names of the classes; None for their numbers.

    Returns:
        A PNG file.

    Raises:
        InputError: There are no examples, or they are not of the same images.
    """
    whole("count", count)
    chosen = chosen_rows(examples, count)
    rows = _rows([each.only(chosen) for each in examples], class_names)
    height, width = rows[0].images.shape[1:3]
    below, between = -(-height * 3 // 10), max(1, width // 16)
    canvas = np.empty((len(rows) * (height + below) + between, len(chosen) * (width + between), 3), np.float32)
    canvas[:] = _GROUND

    with of_extra("report"):
        from matplotlib.figure import Figure

    scale = _INCHES / width
    figure = Figure(figsize=(scale * canvas.shape[1] + 0.5, scale * canvas.shape[0]), facecolor=_GROUND)
    margin = 0.5 / figure.get_figwidth()
    axes = figure.add_axes((margin, 0.0, 1.0 - margin, 1.0))
    for number, row in enumerate(rows):
        top = between + number * (height + below)
        axes.text(-between, top + height / 2, row.name, rotation=90, ha="right", va="center", fontsize=8, color=_RIGHT)
        for place, (image, text, wrong) in enumerate(zip(row.images, row.texts, row.wrong, strict=True)):
            left = place * (width + between)
            canvas[top : top + height, left : left + width] = _coloured(image)
            if text:
                color, weight = (_WRONG, "bold") if wrong else (_RIGHT, "normal")
                x, y = left + width / 2, top + height + below / 8
                axes.text(x, y, text, ha="center", va="top", fontsize=7, color=color, fontweight=weight)
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.axis("off")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def chosen_rows(examples: Sequence[AdversarialExamples], count: int) -> npt.NDArray[np.int64]:
    """Return the rows of the first images that all models get right without an attack, then of the other first ones.

    Raises:
        InputError: There are no examples, or they are not of the same images.
    """
    if not examples:
        raise InputError("examples", expected="the adversarial examples of at least one model", received="none")
    for each in examples:
        if not np.array_equal(each.indices, examples[0].indices) or each.clean.shape != examples[0].clean.shape:
            received = f"others of {each.model} than of {examples[0].model}"
            raise InputError("examples", expected="examples of the same images", received=received)
    right = np.logical_and.reduce([each.clean_predicted == each.labels for each in examples])
    return np.sort(np.argsort(~right, kind="stable")[:count])


def _rows(shown: Sequence[AdversarialExamples], class_names: Sequence[str] | None) -> list[_Row]:
    def named(labels: npt.NDArray[np.int64]) -> list[str]:
        names = labels.tolist() if class_names is None else [class_names[max(label, 0)] for label in labels]
        return ["no class" if label < 0 else str(name) for label, name in zip(labels, names, strict=True)]

    first = shown[0]
    none = np.zeros(len(first.labels), np.bool_)
    rows = [_Row("clean", first.clean, named(first.labels), none)]
    for each in shown:
        texts = [f"{name} ({by})" for name, by in zip(named(each.predicted), each.columns.tolist(), strict=True)]
        difference = 0.5 + DIFFERENCE_FACTOR * (each.images - each.clean)
        rows.append(_Row(each.model, each.images, texts, ~each.correct))
        rows.append(_Row(f"{each.model}:\ndifference x10", difference, [""] * len(none), none))
    return rows


def _coloured(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return an image with three channels; other numbers of channels are averaged."""
    pixels = image if image.shape[-1] == 3 else image.mean(axis=-1, keepdims=True)
    return np.clip(pixels, 0.0, 1.0)
