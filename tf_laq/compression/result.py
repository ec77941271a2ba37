"""What came of a compression: every candidate with its file and its losses, and the one to ship."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any, ClassVar

from tf_laq._internal.documents import Count, Document
from tf_laq._internal.messages import terminal_width
from tf_laq._internal.tables import fitted
from tf_laq.compression.rule import Rule
from tf_laq.errors import InputError
from tf_laq.evaluation import Difference, RobustnessReport, drop
from tf_laq.evaluation.report import OK
from tf_laq.plan import FLOAT_BITS, QuantizationPlan
from tf_laq.tflite import ExportReport

ORIGINAL = "original"
CLEAN = "clean"

_SPARE = ("times smaller", "bits", "clean")
"""Columns that a narrow table is without, from the first on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressedModel:
    """A model that was made, and its file.

    Attributes:
        name: Its name.
        steps: How it was made, in words.
        plan: Its bits; None for the original.
        export: Its file.
        verdict: What came of it: how far it was attacked, and why no further.
    """

    name: str
    steps: tuple[str, ...]
    plan: QuantizationPlan | None
    export: ExportReport
    verdict: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of the file."""
        return self.export.file_bytes

    @property
    def settings(self) -> tuple[tuple[str | None, int], ...]:
        """Quantizer and bits of each weight tensor of the plan."""
        return () if self.plan is None else tuple((entry.quantizer, entry.bits) for entry in self.plan.entries)

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes of the weights; 0 without a plan."""
        return 0 if self.plan is None else self.plan.bytes

    @property
    def average_bits(self) -> float:
        """Bits per weight, over the weights that can be quantized."""
        return float(FLOAT_BITS) if self.plan is None else self.plan.average_bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The model to ship.

    Attributes:
        name: Its name.
        keeps_rule: Whether it keeps the rule; if none does, it is what comes nearest.
        reason: Why it is this one, in words.
    """

    name: str
    keeps_rule: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What the recommended file itself made of the examples that its Keras model is least right about.

    Attributes:
        count: Number of images.
        withstood: Of how many the file got the example right.
        same: On how many examples file and Keras model were both right or both wrong.
    """

    count: Count
    withstood: Count
    same: Count

    def __str__(self) -> str:
        return (
            f"On the worst examples of its Keras model, the file is right on {self.withstood:,} of {self.count:,}, "
            f"with the same verdict on {self.same:,}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compression(Document):
    """The candidates of a compression with their files and losses, and which one to ship.

    Attributes:
        facts: What was done: a name and a value per line.
        rule: By what the file to ship was chosen.
        models: The original, then the candidates, the smallest file first.
        screening: Accuracy of all models without an attack and under the quickest attack.
        robustness: Accuracy under the whole battery, of the models that were attacked in full.
        recommendation: The model to ship.
        file_check: The comparison of the recommended file with its Keras model under attack.
        command: The command line that makes these results; "" where there is none.

    Raises:
        InputError: The model to ship is not one of the models.
    """

    document: ClassVar[str] = "tf_laq compression"
    version: ClassVar[int] = 2

    facts: Mapping[str, str]
    rule: Rule
    models: tuple[CompressedModel, ...]
    screening: RobustnessReport
    robustness: RobustnessReport
    recommendation: Recommendation
    file_check: FileCheck
    command: str = ""

    def __post_init__(self) -> None:
        self.model(self.recommendation.name)

    @property
    def original(self) -> CompressedModel:
        """The model before the compression."""
        return self.models[0]

    @property
    def recommended(self) -> CompressedModel:
        """The model to ship."""
        return self.model(self.recommendation.name)

    def model(self, name: str) -> CompressedModel:
        """Return the model of a name.

        Raises:
            InputError: There is no such model.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise InputError("name", expected=f"one of {', '.join(m.name for m in self.models)}", received=repr(name))

    def attacked(self, name: str) -> bool:
        """Return whether a model was attacked in full, so that it has a worst case."""
        return name in self.robustness.models

    def clean_loss(self, name: str) -> Difference:
        """Return how much accuracy without an attack a model loses against the original, in points."""
        return clean_loss(self.screening, name)

    def loss(self, name: str) -> Difference:
        """Return how much of the worst case a model that was attacked in full loses against the original, in points."""
        return worst_loss(self.robustness, name)

    def front(self) -> list[str]:
        """Return the models, of those attacked in full, that no other one beats: as small, as robust, better in one."""
        found = [
            (model.name, (model.bytes, -self.robustness.worst_case(model.name).successes))
            for model in self.models
            if self.attacked(model.name)
        ]
        return [
            name
            for name, (size, broken) in found
            if not any(s <= size and b <= broken and (s, b) != (size, broken) for _, (s, b) in found)
        ]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the table's headers and rows, a row per model."""
        headers = [
            "model", "bits", "file bytes", "times smaller", "clean", "worst case [95 %]", "below original", "verdict",
        ]  # fmt: skip
        rows = []
        for model in self.models:
            name = model.name
            quick = self.screening.worst_case(name)
            rows.append(
                [
                    name,
                    f"{model.average_bits:.2f}",
                    f"{model.bytes:,}",
                    f"{self.original.bytes / model.bytes:.1f}",
                    f"{100 * self.screening.accuracy(name, CLEAN).value:.1f}",
                    str(self.robustness.worst_case(name)) if self.attacked(name) else f"<= {100 * quick.value:.1f}",
                    "" if name == ORIGINAL else self._loss_cell(name),
                    model.verdict,
                ]
            )
        return headers, rows

    def warnings(self) -> list[str]:
        """Return what could make the figures of the original and of the model to ship misleading, as the checks say."""
        told = (ORIGINAL, self.recommendation.name)
        return [str(check) for check in self.robustness.checks if check.model in told and check.verdict != OK]

    def notes(self) -> list[str]:
        """Return the lines that say how the table was made and what it does not show."""
        quick = ", ".join(column for column in self.screening.battery.names if column != CLEAN)
        return [
            f"N = {self.robustness.count} images, the same for all; seed {self.robustness.seed}; battery "
            f"{self.robustness.battery.name}. Worst case: right under every attack, with its 95 % Wilson interval.",
            "Below original: points of the worst case lost on the same images, with the 95 % interval of Agresti and "
            "Min for pairs.",
            f"Every model was screened by {quick}, which counts in the worst case and so bounds it from above (<=). A "
            "model that loses too much by that bound cannot win, and was attacked no further.",
            "The others were attacked in full, the smallest file first. A model was stopped after a quarter, a half or "
            "three quarters of the images if the whole interval of its loss there was beyond the rule. A file larger "
            "than one that keeps the rule cannot win either.",
            "The file was chosen on these images: its loss on others may be somewhat larger than what is shown here.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        content = super().to_dict()
        reports = {"screening": self.screening.to_dict(), "robustness": self.robustness.to_dict()}
        return {**content, **reports}

    def __str__(self) -> str:
        """Return the recommendation and the table, as wide as the terminal; in files and pipes, 120 characters."""
        width = terminal_width()
        table = fitted(*self.rows(), width, spare=_SPARE)
        above, below = (
            "\n".join(textwrap.fill(line, width) for line in lines)
            for lines in ((self.recommendation.reason, *self.warnings()), (str(self.file_check), *self.notes()))
        )
        return f"{above}\n\n{table}\n\n{below}"

    def _loss_cell(self, name: str) -> str:
        if self.attacked(name):
            return str(self.loss(name))
        least = drop(self.robustness.surviving(ORIGINAL), self.screening.surviving(name))
        return f">= {least.value:.1f}"


def clean_loss(screening: RobustnessReport, name: str) -> Difference:
    """Return the points of accuracy without an attack that a model loses against the original."""
    return drop(screening.correct(ORIGINAL, CLEAN), screening.correct(name, CLEAN))


def worst_loss(robustness: RobustnessReport, name: str) -> Difference:
    """Return the points of the worst case that a model loses against the original."""
    return drop(robustness.surviving(ORIGINAL), robustness.surviving(name))
