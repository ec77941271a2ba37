"""One self-contained HTML page from results: its figures are inside it, and it loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tf_laq._internal import files
from tf_laq.evaluation import AdversarialExamples, RobustnessReport
from tf_laq.plan import QuantizationPlan
from tf_laq.report.pictures import draw_examples
from tf_laq.report.plots import draw_plots
from tf_laq.report.sizes import ModelSize, size_rows
from tf_laq.tflite.report import ExportReport

_CAPTIONS = {
    "robust_accuracy.png": "Accuracy per attack: of gray-box and white-box, the lower. The shaded group is "
    "the worst case. Lines are 95 % Wilson intervals.",
    "bits_per_layer.png": "Bit width of every weight tensor under each plan, with its quantizer.",
    "error_per_layer.png": "How far each plan moves every weight tensor, relative to the tensor's norm.",
    "examples.png": "For each model, the example that it is least right about, of all that it was shown, and what was "
    "changed, ten times as strong on grey. Below an image, the class that the model gives it, in orange where it is "
    "wrong, and the attack.",
}
_NUMBER_FORMAT = ".3f"


@dataclasses.dataclass(frozen=True)
class _Table:
    headers: list[str]
    rows: list[list[str]]


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
    text = _template().render(
        title=title,
        facts=dict(facts or {}),
        summary=_summary(sizes, robustness),
        plans={name: _plan_table(plan) for name, plan in plans.items()},
        plan_texts={name: _plan_text(plan) for name, plan in plans.items()},
        robustness=_robustness_table(robustness),
        notes=robustness.notes() if robustness else [],
        checks=robustness.check_lines() if robustness else [],
        count=robustness.count if robustness else 0,
        surrogates=", ".join(robustness.surrogates) if robustness else "",
        sizes=_Table(*size_rows(sizes)) if sizes else None,
        export=export,
        figures=[_figure(name, content) for name, content in figures.items()],
        command=command,
    )
    files.write_text(page, text)
    return page


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = resources.files("tf_laq.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def _figure(name: str, content: bytes) -> dict[str, str]:
    data = base64.b64encode(content).decode("ascii")
    return {"name": name, "source": f"data:image/png;base64,{data}", "caption": _CAPTIONS[name]}


def _summary(sizes: Sequence[ModelSize], robustness: RobustnessReport | None) -> list[dict[str, str]]:
    """Return a card per model: what it weighs and what it withstands."""
    if robustness is None:
        return []
    by_name = {size.name: size for size in sizes}
    cards = []
    for model in robustness.models:
        worst, size = robustness.worst_case(model), by_name.get(model)
        lower, upper = (100 * end for end in worst.interval)
        cards.append(
            {
                "model": model,
                "worst": f"{100 * worst.value:.1f} %",
                "interval": f"{lower:.1f} to {upper:.1f} %",
                "size": f"{size.average_bits:.2f} bits a weight, {size.bytes:,} bytes" if size else "",
            }
        )
    return cards


def _plan_table(plan: QuantizationPlan) -> _Table:
    headers, rows = plan.rows()
    return _Table(headers, [[_cell(value) for value in row] for row in rows])


def _plan_text(plan: QuantizationPlan) -> str:
    return f"{plan.policy}; norm: {plan.norm}; {plan.average_bits:.2f} bits a weight; codes: {plan.bytes:,} bytes"


def _robustness_table(robustness: RobustnessReport | None) -> _Table | None:
    if robustness is None:
        return None
    headers, *rows = robustness.rows()
    return _Table(headers, rows)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return format(value, _NUMBER_FORMAT)
    return f"{value:,}" if isinstance(value, int) else str(value)
