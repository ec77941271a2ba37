"""Making the candidates: a plan, weights and a file each, kept in a folder so that nothing is made twice."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tf_laq import api, training
from tf_laq._internal import archives
from tf_laq._internal.documents import Document
from tf_laq.attacks import PGD
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.result import CompressedModel
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.tflite import ExportReport, export_tflite
from tf_laq.tflite.encodings import Layout
from tf_laq.training.moments import normalisations

_MATCHED_IMAGES = 256
_COMPARED_IMAGES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(Document):
    """All that the results of a compression depend on: what was made by others is not used again.

    Attributes:
        release: The version of tf_laq.
        model: SHA-256 of the model's weights.
        data: SHA-256 of the training and the test images with their labels.
        settings: The arguments.
    """

    document: ClassVar[str] = "tf_laq compression inputs"
    version: ClassVar[int] = 1

    release: str
    model: str
    data: str
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Data:
    """What the makers of candidates may look at.

    Attributes:
        dataset: Training images, where there are some, and labels for fine-tuning.
        probe: Images to compare files on, as the model itself takes them.
        attack: Perturbs training images.
        seed: Of that attack, and of fine-tuning.
        corrects: Whether training images may be given to the model as they are.
    """

    dataset: Dataset
    probe: npt.NDArray[np.float32] | None
    attack: PGD
    seed: int
    corrects: bool


class Workbench:
    """A folder of candidates: for each a plan, weights and a .tflite file, made once.

    Args:
        path: The folder; it is made if there is none.
        inputs: What the candidates depend on.
        model: The model to compress; it stays as it is.
        data: What the makers may look at.
        layout: Of the files.
        overwrite: Remove what was made of other inputs.

    Raises:
        InputError: The folder has candidates of other inputs.
    """

    def __init__(
        self, path: Path, inputs: Inputs, model: Any, data: Data, layout: Layout, *, overwrite: bool = False
    ) -> None:
        self.path, self._model, self._data, self._layout = path, model, data, layout
        manifest = path / "inputs.json"
        if manifest.is_file() and Inputs.load(manifest) != Inputs.from_json(inputs.to_json()):
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

    def original(self, name: str) -> CompressedModel:
        """Return the model in float32, with its file."""
        return CompressedModel(name=name, steps=(), plan=None, export=self._exported(name, self._model, "float32"))

    def make(self, candidate: Candidate, plan: QuantizationPlan | None = None) -> CompressedModel:
        """Return a candidate, from the folder if it has it.

        Args:
            candidate: What to make.
            plan: Its plan, if it is known; None to let its policy choose.

        Raises:
            InputError: The policy finds no plan, or the model cannot be quantized, tuned or exported.
        """
        place = self._place(candidate.name)
        if not (place / _REPORT).is_file():
            if plan is None:
                plan = api.search(self._model, policy=candidate.policy)
            plan.save(place / _PLAN)
            made = self._made(candidate, plan)
            archives.write(place / _WEIGHTS, {f"{n:04d}": value for n, value in enumerate(made.get_weights())})
            self._exported(candidate.name, made, plan)
        plan = QuantizationPlan.load(place / _PLAN)
        return CompressedModel(
            name=candidate.name,
            steps=(plan.policy, *self._corrections(candidate)),
            plan=plan,
            export=ExportReport.load(place / _REPORT),
        )

    def model(self, made: CompressedModel) -> Any:
        """Return the Keras model of what was made."""
        if made.plan is None:
            return self._model
        model = api.bake(self._model, made.plan)
        with archives.opened(self._place(made.name) / _WEIGHTS, "the weights of a candidate", _AGAIN) as kept:
            model.set_weights([kept[name] for name in sorted(kept)])
        return model

    def file(self, name: str) -> Path:
        """Return the path of a model's .tflite file."""
        return self._place(name) / "model.tflite"

    def attacks(self, name: str) -> Path:
        """Return the folder of an evaluation."""
        return self.path / "attacks" / name

    def _place(self, name: str) -> Path:
        return self.path / "models" / name

    def _made(self, candidate: Candidate, plan: QuantizationPlan) -> Any:
        if candidate.tuning is not None:
            tuned = training.fine_tune(self._model, plan, self._data.dataset, candidate.tuning, seed=self._data.seed)
            return api.strip(tuned)
        baked = api.bake(self._model, plan)
        if not self._is_matched(candidate):
            return baked
        images = self._data.dataset.train.images[:_MATCHED_IMAGES]
        return training.match_statistics(baked, self._model, images, attack=self._data.attack, seed=self._data.seed)

    def _is_matched(self, candidate: Candidate) -> bool:
        return candidate.tuning is None and self._data.corrects and bool(normalisations(self._model))

    def _corrections(self, candidate: Candidate) -> tuple[str, ...]:
        if candidate.tuning is not None:
            return (f"fine-tuned adversarially, {candidate.tuning.epochs} epochs",)
        if self._is_matched(candidate):
            count = min(_MATCHED_IMAGES, len(self._data.dataset.train))
            return (f"statistics matched on {count} training images",)
        return ()

    def _exported(self, name: str, model: Any, plan: Any) -> ExportReport:
        report = self._place(name) / _REPORT
        if not report.is_file():
            found = export_tflite(model, self.file(name), plan, layout=self._layout, images=self._data.probe)
            found.save(report)
        return ExportReport.load(report)


_PLAN, _WEIGHTS, _REPORT = "plan.json", "weights.npz", "export.json"
_AGAIN = "Remove the folder, and it is made again."


def fingerprint(weights: list[Any]) -> str:
    """Return the SHA-256 of a model's weights."""
    return archives.sha256([np.asarray(weight) for weight in weights])


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder of the results, or refuse a path that is a file."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError("out", expected="a folder", received=f"the file {folder}")
    return folder
