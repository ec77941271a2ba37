"""All results of an experiment in one file, from which its page can be drawn again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tf_laq._internal.documents import Document
from tf_laq.evaluation.adversarial import load_examples
from tf_laq.evaluation.report import RobustnessReport
from tf_laq.plan import QuantizationPlan
from tf_laq.report.html import write_report
from tf_laq.report.sizes import ModelSize, size_table
from tf_laq.tflite.report import ExportReport


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary(Document):
    """What the page of an experiment shows, but for the adversarial examples.

    Attributes:
        facts: What was done: a name and a value per line.
        plans: Name of the quantized model -> its plan.
        sizes: One per evaluated model.
        robustness: Accuracy under every attack.
        export: The TensorFlow Lite file.
        command: The command line that makes the results; "" where there is none.
    """

    document: ClassVar[str] = "tf_laq experiment"
    version: ClassVar[int] = 2

    facts: Mapping[str, str]
    plans: Mapping[str, QuantizationPlan]
    sizes: tuple[ModelSize, ...]
    robustness: RobustnessReport
    export: ExportReport
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return {
            "facts": dict(self.facts),
            "plans": {name: plan.to_dict() for name, plan in self.plans.items()},
            "sizes": [dataclasses.asdict(size) for size in self.sizes],
            "robustness": self.robustness.to_dict(),
            "export": self.export.to_dict(),
            "command": self.command,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Summary:
        """Build the summary from what `to_dict` returned."""
        return cls(
            facts=content["facts"],
            plans={name: QuantizationPlan.from_dict(plan) for name, plan in content["plans"].items()},
            sizes=tuple(ModelSize(**size) for size in content["sizes"]),
            robustness=RobustnessReport.from_dict(content["robustness"]),
            export=ExportReport.from_dict(content["export"]),
            command=content["command"],
        )

    def write_report(self, folder: str | os.PathLike[str]) -> Path:
        """Draw the plots and write report.html into the folder of the results, whose `examples` it shows.

        Returns:
            The path of the page.

        Raises:
            InputError: The folder has no adversarial examples, or cannot be written.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return write_report(Path(folder) / "report.html", examples=load_examples(Path(folder) / "examples"), **fields)

    def __str__(self) -> str:
        file = f"{Path(self.export.path).name}: {self.export.file_bytes:,} bytes"
        export = f"{file}\n{self.export.size_table()}\n{self.export.parity}"
        return f"{self.robustness}\n\n{size_table(self.sizes)}\n\n{export}"
