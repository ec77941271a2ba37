"""Making the candidates: a plan, weights and a file each, kept in a folder so that nothing is made twice."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from tf_laq import api, training
from tf_laq._internal import archives
from tf_laq._internal.documents import Document
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.result import ORIGINAL, CompressedModel
from tf_laq.compression.task import Task
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.tflite import ExportReport, export_tflite
from tf_laq.tflite.encodings import Layout
from tf_laq.training.moments import normalisations
from tf_laq.version import __version__

_MATCHED_IMAGES = 256
_PLAN, _WEIGHTS, _REPORT, _FILE = "plan.json", "weights.npz", "export.json", "model.tflite"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(Document):
    """All that a compression depends on; what was made of others is not used again.

    Attributes:
        release: The version of tf_laq.
        model: SHA-256 of the model's weights.
        data: SHA-256 of the training images and of the test images, with their labels.
        settings: The arguments.
    """

    document: ClassVar[str] = "tf_laq compression inputs"
    version: ClassVar[int] = 1

    release: str
    model: str
    data: tuple[str, str]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, task: Task, settings: Mapping[str, Any]) -> Inputs:
        """Describe a task with further settings, which are JSON-ready."""
        given = {"classifier": task.classifier.settings, "battery": task.battery.to_dict(), **settings}
        return cls(
            release=__version__,
            model=task.settled.sha256,
            data=(task.dataset.train.sha256, task.test.sha256),
            settings={**given, "quick": task.quick.to_dict()},
        )


class Workbench:
    """A folder of candidates: of each a plan, weights and a .tflite file, made once.

    Args:
        path: The folder; it is made if there is none.
        task: The model, which stays as it is, and the data that the makers may look at.
        inputs: What the candidates depend on.
        layout: Of the files.
        seed: Of the corrections and the fine-tuning.
        overwrite: Remove what was made of other inputs.

    Raises:
        InputError: The folder has candidates of other inputs.
    """

    def __init__(self, path: Path, task: Task, inputs: Inputs, layout: Layout, seed: int, *, overwrite: bool) -> None:
        self.path, self._task, self._layout, self._seed = path, task, layout, seed
        manifest = path / "inputs.json"
        if manifest.is_file() and manifest.read_text(encoding="utf-8") != inputs.to_json():
            if not overwrite:
                raise InputError(
                    f"folder {path.parent}",
                    expected="no compression, or one of the same model, data and settings",
                    received="one of others",
                    remedy="Choose another folder, or set overwrite=True to begin anew.",
                )
            shutil.rmtree(path)
        if not manifest.is_file():
            inputs.save(manifest)

    def original(self) -> CompressedModel:
        """Return the model in float32, with its file."""
        export = self._exported(ORIGINAL, self._task.model, "float32")
        return CompressedModel(name=ORIGINAL, steps=(), plan=None, export=export)

    def make(self, candidate: Candidate, plan: QuantizationPlan | None = None) -> CompressedModel:
        """Return a candidate, from the folder if it has it.

        Args:
            candidate: What to make.
            plan: Its plan; None to let its policy choose.

        Raises:
            InputError: The policy finds no plan, or the model cannot be quantized, tuned or exported.
        """
        place = self._place(candidate.name)
        # The report comes last: with it, all of the candidate is there.
        if not (place / _REPORT).is_file():
            plan = plan or api.search(self._task.model, policy=candidate.policy)
            made = self._quantized(candidate, plan)
            plan.save(place / _PLAN)
            archives.write(place / _WEIGHTS, {f"{n:04d}": value for n, value in enumerate(made.get_weights())})
            self._exported(candidate.name, made, plan)
        plan = QuantizationPlan.load(place / _PLAN)
        return CompressedModel(
            name=candidate.name,
            steps=(plan.policy, *self._after_the_plan(candidate)),
            plan=plan,
            export=ExportReport.load(place / _REPORT),
        )

    def model(self, made: CompressedModel) -> Any:
        """Return the Keras model of what was made."""
        if made.plan is None:
            return self._task.model
        model, path = api.bake(self._task.model, made.plan), self._place(made.name) / _WEIGHTS
        with archives.opened(path, "the weights of a candidate", f"Remove {path.parent}.") as kept:
            model.set_weights([kept[name] for name in sorted(kept)])
        return model

    def file(self, made: CompressedModel) -> Path:
        """Return the path of a model's .tflite file."""
        return self._place(made.name) / _FILE

    def attacks(self, name: str) -> Path:
        """Return the folder of an evaluation."""
        return self.path / "attacks" / name

    def _place(self, name: str) -> Path:
        return self.path / "models" / name

    def _quantized(self, candidate: Candidate, plan: QuantizationPlan) -> Any:
        model, seed = self._task.model, self._seed
        if candidate.tuning is not None:
            return api.strip(training.fine_tune(model, plan, self._task.dataset, candidate.tuning, seed=seed))
        baked = api.bake(model, plan)
        if not self._is_matched():
            return baked
        images = self._task.dataset.train.images[:_MATCHED_IMAGES]
        return training.match_statistics(baked, model, images, attack=self._task.attack, seed=seed)

    def _is_matched(self) -> bool:
        """Return whether the statistics of candidates are matched.

        Not where there is no normalisation: the biases alone were not seen to help where nothing else shifts.
        """
        return self._task.can_train and bool(normalisations(self._task.model))

    def _after_the_plan(self, candidate: Candidate) -> tuple[str, ...]:
        if candidate.tuning is not None:
            return (f"fine-tuned adversarially, {candidate.tuning.epochs} epochs",)
        count = min(_MATCHED_IMAGES, len(self._task.dataset.train))
        return (f"statistics matched on {count} training images",) if self._is_matched() else ()

    def _exported(self, name: str, model: Any, plan: QuantizationPlan | Literal["float32"]) -> ExportReport:
        report = self._place(name) / _REPORT
        if not report.is_file():
            path = self._place(name) / _FILE
            export_tflite(model, path, plan, layout=self._layout, images=self._task.probe).save(report)
        return ExportReport.load(report)
