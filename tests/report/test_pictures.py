"""The worst adversarial examples as pictures."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.image import imread

from tf_laq import report
from tf_laq.attacks import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation import AdversarialExamples
from tf_laq.report import draw_examples
from tf_laq.report.pictures import chosen_rows


def saved(model="adv", count=12, channels=1, wrong=()):
    """Return examples of a model that is wrong without an attack at some images, and under attack at every second."""
    random = np.random.default_rng(0)
    clean = random.uniform(0.2, 0.8, (count, 8, 8, channels)).astype(np.float32)
    labels = np.arange(count) % 10
    clean_predicted = np.where(np.isin(np.arange(count), wrong), labels + 1, labels)
    return AdversarialExamples(
        model=model,
        sha256="",
        seed=0,
        battery=Battery.preset("digits"),
        images=clean + np.float32(0.05),
        clean=clean,
        labels=labels,
        indices=np.arange(count),
        margins=np.zeros(count, np.float32),
        predicted=labels + np.arange(count) % 2,
        clean_predicted=clean_predicted,
        columns=np.full(count, "pgd"),
        knowledge=np.full(count, "white"),
    )


def size(png: bytes) -> tuple[int, int]:
    height, width = imread(io.BytesIO(png)).shape[:2]
    return width, height


def test_the_grid_grows_with_models_and_images_as_far_as_there_are_any() -> None:
    small = size(draw_examples([saved(count=3)], count=2))
    assert size(draw_examples([saved(count=3)], count=50)) > small
    assert size(draw_examples([saved(count=3), saved("lq", count=3)], count=2))[1] > small[1]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grey_and_coloured_images_are_drawn_with_names_of_the_classes(channels) -> None:
    examples = [saved(channels=channels, count=2)]
    names = [f"class {i}" for i in range(11)]
    assert draw_examples(examples, count=2, class_names=names) != draw_examples(examples, count=2)


def test_images_that_all_models_get_right_without_an_attack_come_first() -> None:
    models = [saved(count=6, wrong=[0]), saved("lq", count=6, wrong=[3])]
    assert chosen_rows(models, 3).tolist() == [1, 2, 4]
    assert chosen_rows(models, 5).tolist() == [0, 1, 2, 4, 5]


def test_the_page_has_the_grid_where_there_are_examples(tmp_path, robustness) -> None:
    page = report.write_report(tmp_path / "report.html", robustness=robustness, examples=[saved(count=2)])
    grid = tmp_path / "plots" / "examples.png"
    assert size(grid.read_bytes()) > (10, 10)
    assert "the example that it is least right about" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one model. Received: none"),
        ([saved(), saved("lq", count=3)], "the same images. Received: others of lq than of adv"),
        ([saved(), dataclasses.replace(saved("lq"), indices=np.arange(12) + 1)], "the same images"),
    ],
)
def test_examples_that_do_not_go_together_are_refused(examples, message) -> None:
    with pytest.raises(InputError, match=message):
        draw_examples(examples)
