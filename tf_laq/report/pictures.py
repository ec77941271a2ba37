"""Adversarial examples as a grid of pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_laq.attacks.checks import whole
from tf_laq.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tf_laq.evaluation.adversarial import AdversarialExamples

DIFFERENCE_FACTOR = 10.0
_RIGHT, _WRONG = "#1d2733", "#D55E00"
_INCHES = 1.15


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
    rows = _chosen(examples, count)
    shown = [each.only(rows) for each in examples]
    from matplotlib.figure import Figure

    height = 1 + 2 * len(shown)
    figure = Figure(figsize=(_INCHES * len(rows) + 1.1, 1.22 * _INCHES * height), layout="constrained")
    grid = figure.subplots(height, len(rows), squeeze=False)

    def named(label: int) -> str:
        return class_names[label] if class_names is not None else str(label)

    for place in range(len(rows)):
        first = shown[0]
        _picture(grid[0, place], first.clean[place], named(first.labels[place]), _RIGHT)
        for number, each in enumerate(shown):
            broken = each.predicted[place] != each.labels[place]
            below = f"{named(each.predicted[place])} ({each.columns[place]})"
            difference = 0.5 + DIFFERENCE_FACTOR * (each.images[place] - each.clean[place])
            _picture(grid[1 + 2 * number, place], each.images[place], below, _WRONG if broken else _RIGHT)
            _picture(grid[2 + 2 * number, place], difference, "", _RIGHT)
    names = ["clean", *(name for each in shown for name in (each.model, f"{each.model}: difference x10"))]
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name.replace(": ", ":\n"), fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def _chosen(examples: Sequence[AdversarialExamples], count: int) -> npt.NDArray[np.int64]:
    """Return the rows of the first images that all models get right without an attack, then of the other first ones."""
    if not examples:
        raise InputError("examples", expected="the adversarial examples of at least one model", received="none")
    for each in examples:
        if not np.array_equal(each.indices, examples[0].indices) or each.clean.shape != examples[0].clean.shape:
            received = f"others of {each.model} than of {examples[0].model}"
            raise InputError("examples", expected="examples of the same images", received=received)
    right = np.logical_and.reduce([each.clean_predicted == each.labels for each in examples])
    return np.sort(np.argsort(~right, kind="stable")[:count])


def _picture(axes: Axes, image: npt.NDArray[Any], below: str, color: str) -> None:
    pixels = np.clip(image, 0.0, 1.0)
    if pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    axes.imshow(pixels, cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(below, fontsize=7, color=color, fontweight="bold" if color == _WRONG else "normal")
