"""One self-contained HTML page from results: its figures are inside it, and it loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tf_laq._internal import files
from tf_laq.evaluation import AdversarialExamples, RobustnessReport
from tf_laq.plan import QuantizationPlan
from tf_laq.report.pages import Card, Picture, Table, cell, render
from tf_laq.report.pictures import EXAMPLES_WORDS, draw_examples
from tf_laq.report.plots import draw_plots
from tf_laq.report.sizes import ModelSize, size_rows
from tf_laq.tflite.report import ExportReport

_WORDS = {
    "robust_accuracy.png": (
        "Accuracy per attack",
        "Accuracy per attack: of gray-box and white-box, the lower. The shaded group is the worst case. Lines are 95 % "
        "Wilson intervals.",
    ),
    "bits_per_layer.png": ("Bit widths", "Bit width of every weight tensor under each plan, with its quantizer."),
    "error_per_layer.png": ("Errors", "How far each plan moves every weight tensor, relative to the tensor's norm."),
    "examples.png": EXAMPLES_WORDS,
}
_WIDE = ("robust_accuracy.png", "examples.png")


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str = "Robustness of quantized models",
    facts: Mapping[str, str] | None = None,
    plans: Mapping[str, QuantizationPlan] | None = None,
    sizes: Sequence[ModelSize] = (),
    robustness: RobustnessReport | None = None,
    examples: Sequence[AdversarialExamples] = (),
    export: ExportReport | None = None,
    command: str = "",
) -> Path:
    """Write the page, and its figures as PNG files into the folder `plots` beside it.

    Args:
        path: The HTML file.
        title: Heading of the page.
        facts: What was done: a name and a value per line.
        plans: Name of the model -> its plan.
        sizes: Sizes of the models.
        robustness: Accuracy under attack.
        examples: The adversarial examples that the evaluation saved; a few are shown.
        export: The TensorFlow Lite file.
        command: The command line that makes the results.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder cannot be written.
    """
    plans = dict(plans or {})
    figures = draw_plots(plans, robustness)
    if examples:
        figures["examples.png"] = draw_examples(examples)
    page = Path(path)
    for name, content in figures.items():
        with files.replacing(page.parent / "plots" / name) as temporary:
            temporary.write_bytes(content)
    text = render(
        "evaluation.html",
        title=title,
        facts=dict(facts or {}),
        summary=_summary(sizes, robustness),
        plans={name: _plan_table(plan) for name, plan in plans.items()},
        plan_texts={name: _plan_text(plan) for name, plan in plans.items()},
        robustness=robustness,
        sizes=Table(*size_rows(sizes)) if sizes else None,
        export=_file(export) if export else None,
        figures=[Picture.of(content, *_WORDS[name], wide=name in _WIDE) for name, content in figures.items()],
        command=command,
    )
    files.write_text(page, text)
    return page


def _summary(sizes: Sequence[ModelSize], robustness: RobustnessReport | None) -> list[Card]:
    """Return a card per model: what it weighs and what it withstands."""
    if robustness is None:
        return []
    by_name = {size.name: size for size in sizes}
    cards = []
    for model in robustness.models:
        worst, size = robustness.worst_case(model), by_name.get(model)
        lower, upper = (100 * end for end in worst.interval)
        lines = [f"95 % interval {lower:.1f} to {upper:.1f} %"]
        if size:
            lines.append(f"{size.average_bits:.2f} bits a weight, {size.bytes:,} bytes")
        cards.append(Card(f"{model}, worst case", f"{100 * worst.value:.1f} %", lines))
    return cards


def _plan_table(plan: QuantizationPlan) -> Table:
    headers, rows = plan.rows()
    return Table(headers, [[cell(value) for value in row] for row in rows])


def _plan_text(plan: QuantizationPlan) -> str:
    return f"{plan.policy}; norm: {plan.norm}; {plan.average_bits:.2f} bits a weight"


def _file(export: ExportReport) -> dict[str, str]:
    others = [f"{name} {size:,} bytes" for name, size in export.layout_bytes.items() if name != export.layout]
    return {
        "File": export.path,
        "Size": f"{export.file_bytes:,} bytes in layout {export.layout}; in float32 {export.float_bytes:,}",
        "Other layouts": "; ".join(others),
        "Runs in": f"TensorFlow Lite {export.runtime} and newer",
        "Check": str(export.parity),
    }
