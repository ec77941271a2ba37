"""What is concluded: the table of an evaluation with its worst cases, and what could make it misleading."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from tabulate import tabulate

from tf_laq._internal import files
from tf_laq._internal.documents import Count, Document, Positive
from tf_laq._internal.validation import one_of
from tf_laq.attacks.base import Attack
from tf_laq.attacks.battery import KNOWLEDGE, Battery
from tf_laq.errors import InputError
from tf_laq.evaluation.outcomes import Cell, Correct, Outcome
from tf_laq.evaluation.statistics import Share

NO_CELL = "-"
OK, WARNING = "ok", "warning"
# All checks, in the order in which they are made.
CHECKS = (
    "clean_accuracy",
    "radius",
    "searched",
    "zero_gradients",
    "logits_scale",
    "randomised",
    "inside_the_ball",
    "transfer",
    "one_step",
    "gradient_free",
    "noise",
    "more_steps",
    "more_restarts",
    "epsilon",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """The verdict of one check on one model.

    Attributes:
        model: Name of the model.
        name: Name of the check, one of `CHECKS`.
        verdict: "ok" or "warning".
        figures: What was measured.
        sentence: What that means.
    """

    model: str
    name: str
    verdict: str
    figures: Mapping[str, float]
    sentence: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.model}, {self.name}: {self.sentence}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessReport(Document):
    """Accuracy of models under the attacks of a battery, example by example.

    Gray-box and white-box cells count an example that is misclassified without an attack as broken. The worst
    case counts an example as robust only if the model is right on it under every attack of the battery. In the
    white-box cells of an ensemble, an example that an earlier white-box column broke is broken.

    Attributes:
        models: Names of the evaluated models.
        surrogates: Names of the models that gray-box examples were made on.
        battery: The attacks with their settings.
        count: Number of examples N.
        seed: Seed of the random attacks.
        outcomes: One per model, column, knowledge and surrogate, and one more for a second search.
        checks: What could make these figures misleading, looked for on every model.
        classes: Number of classes of each model.
        steps: What stands between each model or surrogate and the logits that were attacked, where anything does.

    Raises:
        InputError: An outcome is of another number of examples.
    """

    document: ClassVar[str] = "tf_laq robustness report"
    version: ClassVar[int] = 3

    models: tuple[str, ...]
    surrogates: tuple[str, ...]
    battery: Battery
    count: Positive
    seed: Count
    outcomes: tuple[Outcome, ...]
    checks: tuple[Check, ...] = ()
    classes: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {outcome.count for outcome in self.outcomes}
        if not counts <= {self.count}:
            expected = f"outcomes of {self.count} examples"
            raise InputError("outcomes", expected=expected, received=f"of {', '.join(map(str, sorted(counts)))}")

    @classmethod
    def joined(cls, reports: Sequence[RobustnessReport]) -> RobustnessReport:
        """Return the reports of different models on the same images, surrogates, battery and seed, as one.

        Raises:
            InputError: There is no report, or they are of other images, surrogates, batteries or seeds, or of one model
                twice.
        """
        alike = {(report.surrogates, report.count, report.seed, report.battery.to_json()) for report in reports}
        models = tuple(model for report in reports for model in report.models)
        if len(alike) != 1 or len(set(models)) != len(models):
            expected = "reports of different models, of as many images, by the same surrogates, battery and seed"
            raise InputError("reports", expected=expected, received=f"{len(alike)} kinds, of {', '.join(models)}")
        return dataclasses.replace(
            reports[0],
            models=models,
            outcomes=tuple(outcome for report in reports for outcome in report.outcomes),
            checks=tuple(check for report in reports for check in report.checks),
            classes={name: classes for report in reports for name, classes in report.classes.items()},
            steps={name: steps for report in reports for name, steps in report.steps.items()},
        )

    def preceded_by(self, first: RobustnessReport) -> RobustnessReport:
        """Return the report with the columns of an earlier one on the same models, images and seed put first.

        Columns of a name that both have are this report's. In an ensemble, what an earlier white-box column broke is
        broken in the later ones.

        Raises:
            InputError: The reports are of other models, or of another number of images.
        """
        if (first.models, first.count) != (self.models, self.count):
            expected = f"a report of {', '.join(self.models)} on {self.count} images"
            raise InputError("first", expected=expected, received=f"{', '.join(first.models)} on {first.count}")
        new = [column for column in first.battery.columns if column.name not in self.battery.names]
        names = {column.name for column in new}
        earlier = tuple(outcome for outcome in first.outcomes if outcome.column in names)
        outcomes = self.outcomes
        if self.battery.ensemble:
            left = {model: first.surviving(model) for model in self.models}
            outcomes = tuple(o.only(left[o.model]) if o.knowledge == "white" else o for o in outcomes)
        clean, *others = self.battery.columns
        battery = dataclasses.replace(self.battery, columns=(clean, *new, *others))
        return dataclasses.replace(self, battery=battery, outcomes=(*earlier, *outcomes))

    def has(self, model: str, column: str, knowledge: str) -> bool:
        """Return whether there is an outcome of a model, column and knowledge."""
        return any((o.model, o.column, o.knowledge) == (model, column, knowledge) for o in self.outcomes)

    def correct(self, model: str, column: str, knowledge: str = "none", surrogate: str | None = None) -> Correct:
        """Return where a model was right under an attack, shape (N,).

        Args:
            model: Name of the model.
            column: Name of the column.
            knowledge: "none", "gray" or "white".
            surrogate: One source of the gray-box examples; None for all: right under each of them.

        Raises:
            InputError: The report has no such outcome.
        """
        found = [
            outcome.correct
            for outcome in self.outcomes
            if (outcome.model, outcome.column, outcome.knowledge) == (model, column, knowledge)
            and surrogate in (None, outcome.surrogate)
        ]
        if not found:
            raise InputError(
                "outcome",
                expected=f"a model among {', '.join(self.models)}, a column among "
                f"{', '.join(self.battery.names)}, and a knowledge that the column has",
                received=f"{model}, {column}, {knowledge}" + (f", {surrogate}" if surrogate else ""),
            )
        together: Correct = np.logical_and.reduce(found)
        return together

    def accuracy(self, model: str, column: str, knowledge: str = "none", surrogate: str | None = None) -> Share:
        """Return the share of examples that a model gets right; the arguments are those of `correct`."""
        return self._share(self.correct(model, column, knowledge, surrogate))

    def surviving(self, model: str, knowledge: str | None = None) -> Correct:
        """Return the examples that a model gets right under every attack, shape (N,).

        Args:
            model: Name of the model.
            knowledge: "gray" for the attacks that need a surrogate or nothing; "white" or None for all, since who
                has the model can do whatever one who does not have it can.

        Raises:
            InputError: There is no such model or knowledge.
        """
        one_of("model", model, self.models)
        if knowledge is not None:
            one_of("knowledge", knowledge, KNOWLEDGE)
        counted = KNOWLEDGE if knowledge is None else KNOWLEDGE[: KNOWLEDGE.index(knowledge) + 1]
        found = [o.correct for o in self.outcomes if o.model == model and o.knowledge in counted]
        together: Correct = np.logical_and.reduce(found)
        return together

    def worst_case(self, model: str, knowledge: str | None = None) -> Share:
        """Return the share of examples that survive every attack; the arguments are those of `surviving`."""
        return self._share(self.surviving(model, knowledge))

    def median_distortion(self, model: str, column: str) -> float | None:
        """Return the median distortion of a white-box minimum-norm attack on a model, or None."""
        cell = (model, column, "white")
        found = [o for o in self.outcomes if (o.model, o.column, o.knowledge) == cell]
        return found[0].median_distortion if found else None

    def rows(self) -> list[list[str]]:
        """Return the table as text: a heading, then one row a model, cells in percent as "gray/white"."""
        heading = ["model", *self.battery.names, "worst case [95 %]"]
        cells = [[self._cell(model, column) for column in self.battery.names] for model in self.models]
        worst = [str(self.worst_case(model)) for model in self.models]
        return [heading, *([m, *row, w] for m, row, w in zip(self.models, cells, worst, strict=True))]

    def caption(self) -> list[str]:
        """Return the lines that say what the cells are, of how many examples, seed, battery and surrogates."""
        return [
            f"Accuracy in %, gray-box/white-box. N = {self.count}, seed = {self.seed}, "
            f"battery {self.battery.name}. Gray-box examples from: {', '.join(self.surrogates) or 'none'}.",
            "Worst case: right under every attack of the row, with its 95 % Wilson interval.",
        ]

    def notes(self) -> list[str]:
        """Return the lines that say how the attacks were made: second searches, what is left out, and settings."""
        lines = [f"{name}: {', '.join(steps)}." for name, steps in self.steps.items()]
        if self.battery.ensemble:
            lines.append(
                "Ensemble: a white-box cell counts what is left after this and all earlier white-box columns, "
                "which leave out what is broken already."
            )
        if not self.battery.second_search:
            lines.append("No second search, which finds what attacks miss where quantization hides gradients.")
        second = [outcome for outcome in self.outcomes if outcome.second_search]
        if second:
            columns, models = (dict.fromkeys(getattr(o, name) for o in second) for name in ("column", "model"))
            lines.append(
                f"White-box {', '.join(columns)} on {', '.join(models)} count a second search by Auto-PGD on what "
                "it left: along the gradient completed where it is exactly zero, and from other models' examples."
            )
        for model in self.models:
            missing = self._missing(model)
            few = [column for column, attack in missing.items() if attack.fewest_classes > self.classes.get(model, 10)]
            if few:
                least, count = max(missing[c].fewest_classes for c in few), self.classes[model]
                lines.append(
                    f"No white-box {', '.join(few)} on {model}: {least} classes are needed, and it has {count}."
                )
            blind = [column for column in missing if column not in few]
            if blind:
                lines.append(f"No white-box {', '.join(blind)} on {model}: they need a gradient, and it has none.")
        for column in self.battery.columns:
            by_attack: dict[str, list[str]] = {}
            for knowledge, attack in column.attacks.items():
                by_attack.setdefault(repr(attack), []).append(knowledge)
            settings = "; ".join(f"{' and '.join(known)}: {attack}" for attack, known in by_attack.items())
            lines.append(f"{column.name}: {settings}")
            medians = [(model, self.median_distortion(model, column.name)) for model in self.models]
            shown = [f"{model} {median:.3g}" for model, median in medians if median is not None]
            if shown:
                lines.append(f"{column.name}, median white-box distortion: {', '.join(shown)}")
        return lines

    def check_lines(self) -> list[str]:
        """Return the verdicts as lines: every warning, how many checks were passed, and those that were not made."""
        if not self.checks:
            return []
        warnings = [str(check) for check in self.checks if check.verdict != OK]
        lines = [f"Checks: {len(self.checks) - len(warnings)} of {len(self.checks)} ok.", *warnings]
        missing = [name for name in CHECKS if name not in {check.name for check in self.checks}]
        reason = "no column for it, no gradient, or turned off"
        return lines + ([f"Not checked ({reason}): {', '.join(missing)}."] if missing else [])

    def to_markdown(self) -> str:
        """Return the table and its notes as Markdown."""
        heading, *body = self.rows()
        table = tabulate(body, heading, tablefmt="github", disable_numparse=True)
        return (
            table
            + "\n\n"
            + "\n".join(f"- {line}" for line in [*self.caption(), *self.notes(), *self.check_lines()])
            + "\n"
        )

    def __str__(self) -> str:
        heading, *body = self.rows()
        table = tabulate(body, heading, disable_numparse=True)
        below = (self.check_lines(), [*self.caption(), *self.notes()])
        blocks = [table, *("\n".join(lines) for lines in below if lines)]
        return "\n\n".join(blocks)

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record per outcome and worst case; shares are 0 to 1, settings are JSON text."""
        attacks = {column.name: column.attacks for column in self.battery.columns}
        records = [
            {
                **{key: getattr(outcome, key) for key in Cell._fields},
                **_numbers(self._share(outcome.correct)),
                "median_distortion": outcome.median_distortion,
                "seed": self.seed,
                "settings": json.dumps(attacks[outcome.column][outcome.knowledge].to_dict()),
            }
            for outcome in self.outcomes
        ]
        for model in self.models:
            for knowledge in (None, "gray", "white"):
                cell = dict(zip(Cell._fields, (model, "worst_case", knowledge or "all", None, None), strict=True))
                records.append({**cell, **_numbers(self.worst_case(model, knowledge)), "seed": self.seed})
        return records

    def to_csv(self) -> str:
        """Return the records as comma-separated values under a heading."""
        text = io.StringIO()
        records = self.records()
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write `robustness.json`, which `load` reads, and the table as `.csv`, `.txt` and `.md`, to a folder."""
        with files.replacing_together(folder) as temporary:
            self.save(temporary / "robustness.json")
            for ending, text in (("csv", self.to_csv()), ("txt", f"{self}\n"), ("md", self.to_markdown())):
                (temporary / f"robustness.{ending}").write_text(text, encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return {**super().to_dict(), "battery": self.battery.to_dict()}

    def _missing(self, model: str) -> dict[str, Attack]:
        """Return the white-box attacks by column that were left out, for want of a gradient or of classes."""
        white = {column.name: column.attacks["white"] for column in self.battery.columns if "white" in column.attacks}
        return {name: attack for name, attack in white.items() if not self.has(model, name, "white")}

    def _share(self, correct: Correct) -> Share:
        return Share(int(correct.sum()), self.count)

    def _cell(self, model: str, column: str) -> str:
        present = {o.knowledge for o in self.outcomes if (o.model, o.column) == (model, column)}
        shown = {k: f"{100 * self.accuracy(model, column, k).value:.1f}" for k in KNOWLEDGE if k in present}
        if not shown or "none" in shown:
            return shown.get("none", NO_CELL)
        return f"{shown.get('gray', NO_CELL)}/{shown.get('white', NO_CELL)}"


def _numbers(share: Share) -> dict[str, float]:
    lower, upper = share.interval
    numbers = {"correct": share.successes, "count": share.count, "accuracy": share.value}
    return {**numbers, "lower": lower, "upper": upper}
