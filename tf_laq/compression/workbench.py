"""Making the candidates: a plan, weights and a file each, kept in a folder so that nothing is made twice."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tf_laq import api, training
from tf_laq._internal import archives, files
from tf_laq._internal.documents import Count, Document
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.places import FILE, INPUTS
from tf_laq.compression.result import ORIGINAL, CompressedModel
from tf_laq.compression.task import Task
from tf_laq.errors import InputError
from tf_laq.evaluation.models import described, same_model
from tf_laq.plan import QuantizationPlan
from tf_laq.policies import DataDrivenPolicy, Policy
from tf_laq.tflite import ExportReport, export_tflite
from tf_laq.tflite.encodings import Layout
from tf_laq.training.moments import layers_with_bias, normalisations
from tf_laq.version import __version__

_MATCHED_IMAGES = 256
_PLAN, _WEIGHTS, _REPORT, _MAKING = "plan.json", "weights.npz", "export.json", "made.json"
# The state of a fine-tuning, under a name of its own for each recipe.
_TRAINING = "training-"

_Maker = Callable[[QuantizationPlan], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(Document):
    """All that the candidates of a folder have in common; what was made of other inputs is not used again.

    Attributes:
        release: The version of tf_laq.
        model: What tells the model, and how it is called, from others.
        images: SHA-256 of the training images, with their labels.
        attack: The attack on them.
        layout: Of the files.
        seed: Of the corrections and the fine-tuning.
    """

    document: ClassVar[str] = "tf_laq compression inputs"
    version: ClassVar[int] = 3

    release: str
    model: Mapping[str, Any]
    images: str
    attack: Mapping[str, Any]
    layout: str
    seed: Count

    def are_those_of(self, path: Path) -> bool:
        """Return whether a file has the same inputs."""
        try:
            found = Inputs.load(path)
        except InputError:  # Another version, or damaged.
            return False
        return same_model(found.model, self.model) and dataclasses.replace(found, model=self.model) == self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making(Document):
    """How a candidate of a folder was made.

    Attributes:
        policy: The policy with its settings.
        tuning: The fields of the recipe of its fine-tuning; None for none.
        matched: Whether its statistics are to be matched.
    """

    document: ClassVar[str] = "tf_laq compression candidate"
    version: ClassVar[int] = 2

    policy: str
    tuning: Mapping[str, Any] | None
    matched: bool

    @classmethod
    def of(cls, candidate: Candidate) -> Making:
        """Describe a candidate."""
        tuning = None if candidate.tuning is None else dataclasses.asdict(candidate.tuning)
        return cls(policy=_described(candidate.policy), tuning=tuning, matched=candidate.matched)


def _described(policy: Policy | DataDrivenPolicy) -> str:
    """Return the settings of a policy in words, arrays by their SHA-256: a printed array leaves most of itself out."""
    if not dataclasses.is_dataclass(policy):
        return repr(policy)
    values = {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}
    words = [
        f"{name}={archives.sha256([value]) if isinstance(value, np.ndarray) else repr(value)}"
        for name, value in values.items()
    ]
    return f"{type(policy).__name__}({', '.join(words)})"


class Workbench:
    """A folder of candidates: of each a plan, weights and a .tflite file, made once.

    Args:
        path: The folder; it is made if there is none.
        task: The model, which stays as it is, and the data that the makers may look at.
        layout: Of the files.
        seed: Of the corrections and the fine-tuning.
        batch_size: Images that the corrections attack at a time.
        overwrite: Remove what was made of other inputs.
        progress: Show progress bars; in files and pipes, a line a minute.

    Raises:
        InputError: The folder has candidates of other inputs.
    """

    def __init__(
        self, path: Path, task: Task, layout: Layout, seed: int, *, batch_size: int, overwrite: bool, progress: bool
    ) -> None:
        self.path, self._task, self._layout, self._seed, self._progress = path, task, layout, seed, progress
        self._batch_size = batch_size
        inputs = Inputs(
            release=__version__,
            model=described(task.classifier, task.settled, task.first_images),
            images=task.dataset.train.sha256,
            attack=task.attack.to_dict(),
            layout=layout,
            seed=seed,
        )
        files.sweep_tree(path)
        manifest = path / INPUTS
        if manifest.is_file() and not inputs.are_those_of(manifest):
            if not overwrite:
                raise InputError(
                    f"folder {path.parent}",
                    expected="no compression, or one of the same model, training images, radius, layout and seed",
                    received="one of others",
                    remedy="Choose another folder, or set overwrite=True to begin anew.",
                )
            shutil.rmtree(path)
        if not manifest.is_file():
            inputs.save(manifest)

    def original(self) -> CompressedModel:
        """Return the model in float32, with its file."""
        report = self._place(ORIGINAL) / _REPORT
        if not report.is_file():
            self._export(ORIGINAL, self._task.model, "float32")
        return CompressedModel(name=ORIGINAL, steps=(), plan=None, export=ExportReport.load(report))

    def make(self, candidate: Candidate, plan: QuantizationPlan | None = None) -> CompressedModel:
        """Return a candidate, from the folder if it has it.

        Args:
            candidate: What to make.
            plan: Its plan; None to let its policy choose.

        Raises:
            InputError: The policy finds no plan, or the model cannot be quantized, tuned or exported.
        """
        place, making = self._place(candidate.name), Making.of(candidate)
        steps, make = self._after_the_plan(candidate, place / f"{_TRAINING}{making.checksum[:8]}")
        # It comes last: with it, all of the candidate is there.
        if not making.is_at(place / _MAKING):
            # What is there may be of another recipe; from here on it is not whole.
            (place / _MAKING).unlink(missing_ok=True)
            if plan is None:
                plan = api.search(
                    self._task.model, policy=candidate.policy, layout=self._layout, progress=self._progress
                )
            made = make(plan)
            plan.save(place / _PLAN)
            archives.write(place / _WEIGHTS, {f"{n:04d}": value for n, value in enumerate(made.get_weights())})
            self._export(candidate.name, made, plan)
            making.save(place / _MAKING)
        for trained in place.glob(f"{_TRAINING}*"):
            shutil.rmtree(trained)
        plan = QuantizationPlan.load(place / _PLAN)
        return CompressedModel(
            name=candidate.name,
            steps=(plan.policy, *steps),
            plan=plan,
            export=ExportReport.load(place / _REPORT),
        )

    def model(self, made: CompressedModel) -> Any:
        """Return the Keras model of what was made."""
        if made.plan is None:
            return self._task.model
        model, path = api.bake(self._task.model, made.plan), self._place(made.name) / _WEIGHTS
        with archives.opened_whole(path, "the weights of a candidate", f"Remove {path.parent}.") as kept:
            model.set_weights([kept[name] for name in sorted(kept)])
        return model

    def file(self, made: CompressedModel) -> Path:
        """Return the path of a model's .tflite file."""
        return self._place(made.name) / FILE

    def _place(self, name: str) -> Path:
        return self.path / "models" / name

    def _after_the_plan(self, candidate: Candidate, checkpoint: Path) -> tuple[tuple[str, ...], _Maker]:
        """Return what a candidate has besides its plan, in words, and what makes the model of a plan with it."""
        model, task, seed = self._task.model, self._task, self._seed
        recipe = candidate.tuning
        if recipe is not None:

            def tuned(plan: QuantizationPlan) -> Any:
                settings: Any = {"seed": seed, "checkpoint": checkpoint, "progress": self._progress}
                return api.strip(training.fine_tune(model, plan, task.dataset, recipe, **settings))

            return (f"fine-tuned adversarially, {recipe.epochs} epochs",), tuned
        if candidate.matched and task.can_train and (normalisations(model) or layers_with_bias(model)):
            images = task.dataset.train.images[:_MATCHED_IMAGES]

            def matched(plan: QuantizationPlan) -> Any:
                # It attacks half as many images at a time.
                size = 2 * self._batch_size
                baked = api.bake(model, plan)
                return training.match_statistics(baked, model, images, attack=task.attack, batch_size=size, seed=seed)

            return (f"statistics matched on {len(images)} training images",), matched
        # Running statistics can be asked instead of training images.
        takes_images = task.takes_images and len(task.test.images.shape) > 2
        if candidate.matched and not task.can_train and takes_images and normalisations(model):

            def matched_on_textures(plan: QuantizationPlan) -> Any:
                images = training.textures(model, shape=task.test.images.shape[1:], seed=seed)
                return training.match_statistics(api.bake(model, plan), model, images)

            return ("statistics matched on textures",), matched_on_textures
        return (), functools.partial(api.bake, model)

    def _export(self, name: str, model: Any, plan: QuantizationPlan | Literal["float32"]) -> None:
        place = self._place(name)
        report = export_tflite(model, place / FILE, plan, layout=self._layout, images=self._task.probe)
        report.save(place / _REPORT)
