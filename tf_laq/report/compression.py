"""The page of a compression: what to ship first, then all that it follows from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tf_laq._internal import files
from tf_laq.compression.places import FILE, RECOMMENDED
from tf_laq.compression.result import CLEAN, ORIGINAL, Compression
from tf_laq.compression.rule import points
from tf_laq.evaluation import AdversarialExamples, Share
from tf_laq.report.fronts import draw_sizes
from tf_laq.report.layers import draw_layers, layer_table, layers_of
from tf_laq.report.pages import Card, Picture, Table, render
from tf_laq.report.pictures import EXAMPLES_WORDS, draw_examples
from tf_laq.tflite.report import ExportReport


def write_compression(
    path: str | os.PathLike[str], result: Compression, *, examples: Sequence[AdversarialExamples] = ()
) -> Path:
    """Write the page of a compression: one file that loads nothing, for a screen of any width, and for paper.

    Args:
        path: The HTML file, beside the folder `recommended` of the compression.
        result: What came of the compression.
        examples: Adversarial examples of one or more of its models; a few are shown.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder cannot be written, or the examples are not of the same images.

    Example:
        >>> result = laq.Compression.load("out/compression.json")  # doctest: +SKIP
        >>> laq.report.write_compression("out/report.html", result)  # doctest: +SKIP
        PosixPath('out/report.html')
    """
    chosen = result.recommended
    layers = layers_of(chosen)
    sections = {
        "recommended": "What to ship",
        "size": "Size against worst case",
        "candidates": "Candidates",
        "layers": "Layers",
        "accuracy": "Accuracy under attack",
        "examples": "Adversarial examples",
        "layouts": "Sizes of the file",
        "facts": "What was done",
        "reproduce": "Reproduce",
    }
    missing = {"layers": not layers, "examples": not examples, "reproduce": not result.command}
    text = render(
        "compression.html",
        title=f"{_heading(result)} ({chosen.bytes:,} bytes)",
        heading=_heading(result),
        result=result,
        sections={place: name for place, name in sections.items() if not missing.get(place)},
        summary=_summary(result),
        shipped=_shipped(result),
        most=points(result.rule.max_loss),
        size_picture=draw_sizes(result),
        candidates=Table(*result.rows()),
        steps={model.name: "; ".join(model.steps) for model in result.models if model.steps},
        layers=layer_table(layers, chosen.export) if layers else None,
        layers_picture=draw_layers(layers) if layers else "",
        examples=Picture.of(draw_examples(examples), *EXAMPLES_WORDS, wide=True) if examples else None,
        layouts=_layouts(chosen.export),
    )
    files.write_text(path, text)
    return Path(path)


def _heading(result: Compression) -> str:
    name = result.recommendation.name
    if result.recommendation.keeps_rule:
        return f"Ship {name}"
    if name == ORIGINAL:
        return "Ship the original: no candidate keeps the rule"
    return f"No candidate keeps the rule: {name} comes nearest"


def _summary(result: Compression) -> list[Card]:
    """Return the figures of the recommended model beside the original's."""
    name, size, before = result.recommendation.name, result.recommended.bytes, result.original.bytes
    kept = result.recommendation.keeps_rule
    worst, worst_before = (result.robustness.worst_case(model) for model in (name, ORIGINAL))
    clean, clean_before = (result.screening.accuracy(model, CLEAN) for model in (name, ORIGINAL))
    lost, lost_clean = result.loss(name), result.clean_loss(name)
    same = f"on the same {result.robustness.count:,} images"
    ends = [100 * end for end in worst.interval]
    return [
        Card("Rule", "✓ kept" if kept else "✗ not kept", [str(result.rule)], "good" if kept else "bad"),
        Card("File", f"{size:,} bytes", [f"the original {before:,}", f"{before / size:.1f} times smaller"]),
        Card("Points of worst case lost", f"{lost.value:.1f}", [_interval(lost.lower, lost.upper), same]),
        Card("Worst case", _percent(worst), [_interval(*ends), f"the original {_percent(worst_before)}"]),
        Card(
            "Without an attack",
            _percent(clean),
            [
                f"the original {_percent(clean_before)}",
                f"{lost_clean.value:.1f} points lost, {_interval(lost_clean.lower, lost_clean.upper)}",
            ],
        ),
    ]


def _shipped(result: Compression) -> dict[str, str]:
    chosen, export = result.recommended, result.recommended.export
    kept = "" if export.kept else "; NOT every tensor is stored as planned"
    plan = {} if chosen.plan is None else {"Its bits": f"{RECOMMENDED}/plan.json"}
    return {
        "The file to ship": f"{RECOMMENDED}/{FILE}, {chosen.bytes:,} bytes in layout {export.layout}{kept}",
        "The same model in Keras": f"{RECOMMENDED}/model.keras",
        **plan,
        "How it was made": "; ".join(chosen.steps) or "as it was given",
        "Runs in": f"TensorFlow Lite {export.runtime} and newer" if export.runtime else "a runtime with its operators",
        "Outputs": str(export.parity),
        "Under attack": str(result.file_check),
    }


def _layouts(export: ExportReport) -> Table:
    sizes = {**export.layout_bytes, "float32": export.float_bytes}
    rows = [[name, f"{size:,}", f"{export.float_bytes / size:.1f}"] for name, size in sizes.items()]
    return Table(["layout", "file bytes", "times smaller than in float32"], rows)


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f}\u00a0%"


def _interval(lower: float, upper: float) -> str:
    return f"95\u00a0% interval {lower:.1f} to {upper:.1f}"
