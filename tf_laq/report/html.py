"""The page of an evaluation: its figures are inside it, and it loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tf_laq._internal import files
from tf_laq.evaluation import AdversarialExamples, RobustnessReport
from tf_laq.report.pages import Card, Picture, render
from tf_laq.report.pictures import EXAMPLES_WORDS, draw_examples
from tf_laq.report.plots import draw_accuracy

_WORDS = {
    "robust_accuracy.png": (
        "Accuracy per attack",
        "Accuracy per attack: of gray-box and white-box, the lower. The shaded group is the worst case. Lines are 95 % "
        "Wilson intervals.",
    ),
    "examples.png": EXAMPLES_WORDS,
}


def write_report(
    path: str | os.PathLike[str],
    robustness: RobustnessReport,
    *,
    title: str = "Accuracy under attack",
    facts: Mapping[str, str] | None = None,
    examples: Sequence[AdversarialExamples] = (),
) -> Path:
    """Write the page, and its figures as PNG files into the folder `plots` beside it.

    Args:
        path: The HTML file.
        robustness: Accuracy under attack.
        title: Heading of the page.
        facts: What was done: a name and a value per line.
        examples: The adversarial examples that the evaluation saved; a few are shown.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder cannot be written.
    """
    figures = {"robust_accuracy.png": draw_accuracy(robustness)}
    if examples:
        figures["examples.png"] = draw_examples(examples)
    text = render(
        "evaluation.html",
        title=title,
        facts=dict(facts or {}),
        summary=[_card(robustness, model) for model in robustness.models],
        robustness=robustness,
        figures=[Picture.of(content, *_WORDS[name], wide=True) for name, content in figures.items()],
    )
    page = Path(path)
    with files.replacing_together(page.parent) as temporary:
        (temporary / "plots").mkdir()
        for name, content in figures.items():
            (temporary / "plots" / name).write_bytes(content)
        (temporary / page.name).write_text(text, encoding="utf-8")
    return page


def _card(robustness: RobustnessReport, model: str) -> Card:
    """Return what a model withstands."""
    worst = robustness.worst_case(model)
    lower, upper = (100 * end for end in worst.interval)
    interval = f"95 % interval {lower:.1f} to {upper:.1f} %"
    return Card(f"{model}, worst case", f"{100 * worst.value:.1f} %", [interval])
