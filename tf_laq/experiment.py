"""The paper's experiment as one call: train, quantize in three ways, attack, export, report.

Source: Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness"
(2021), section 6. Its four models are `adv` (adversarially trained, full precision), `q1` (3-bit linear
everywhere), `q2` (3-bit log everywhere) and `lq` (Algorithm 1).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tf_laq import api, datasets, evaluation
from tf_laq._internal import files
from tf_laq._internal.documents import Document
from tf_laq._internal.validation import one_of, whole
from tf_laq.adapters import keras_module
from tf_laq.attacks.battery import Battery
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.evaluation import RobustnessReport
from tf_laq.plan import QuantizationPlan
from tf_laq.report.sizes import ModelSize, size_table
from tf_laq.saving import load_model, save_model
from tf_laq.tflite.report import ExportReport
from tf_laq.training.recipes import Recipe, recipe as recipe_named
from tf_laq.version import __version__

PLAN_FILES = {"lq": "plan.json", "q1": "plan_q1.json", "q2": "plan_q2.json"}
EXAMPLES_FOLDER = "examples"
_UNIFORM_BITS = 3
_COMPARISON_IMAGES = 64

Announce = Callable[[str], object]
_print_now: Announce = functools.partial(print, flush=True)


@dataclasses.dataclass(frozen=True)
class TrainingRecord(Document):
    """What a model file was trained with; by it a later run knows whether it can be used again.

    Attributes:
        dataset: Name of the data set.
        recipe: The fields of the recipe, without its description.
        keras: The version of Keras, 2 or 3.
        seed: The seed.
        release: The version of tf_laq.
        sha256: Of the model file.
    """

    document: ClassVar[str] = "tf_laq training record"
    version: ClassVar[int] = 2

    dataset: str
    recipe: Mapping[str, Any]
    keras: int
    seed: int
    release: str
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainingRecord:
        """Build the record from what `to_dict` returned."""
        return cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentResult(Document):
    """Everything the experiment found.

    Attributes:
        folder: The results folder.
        dataset: Name of the data set.
        recipe_name: Name of the training recipe, or "custom".
        recipe: The fields of the recipe.
        seed: Seed of `adv`, of the random attacks and of the data split.
        twin_seed: Seed of the independently trained twin.
        reused: Names of the trained models that were taken from an earlier run.
        command: The command line that makes these results, or "" where there is none.
        plans: Name of the quantized model -> its plan.
        sizes: One per evaluated model.
        robustness: Accuracy under every attack.
        export: The TensorFlow Lite file of `lq`.
    """

    document: ClassVar[str] = "tf_laq experiment"
    version: ClassVar[int] = 2

    folder: str
    dataset: str
    recipe_name: str
    recipe: Mapping[str, Any]
    seed: int
    twin_seed: int
    reused: tuple[str, ...]
    command: str
    plans: Mapping[str, QuantizationPlan]
    sizes: tuple[ModelSize, ...]
    robustness: RobustnessReport
    export: ExportReport

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return {
            **{name: getattr(self, name) for name in _PLAIN_FIELDS},
            "recipe": dict(self.recipe),
            "reused": list(self.reused),
            "plans": {name: plan.to_dict() for name, plan in self.plans.items()},
            "sizes": [dataclasses.asdict(size) for size in self.sizes],
            "robustness": self.robustness.to_dict(),
            "export": self.export.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ExperimentResult:
        """Build the result from what `to_dict` returned."""
        return cls(
            **{name: content[name] for name in _PLAIN_FIELDS},
            recipe=content["recipe"],
            reused=tuple(content["reused"]),
            plans={name: QuantizationPlan.from_dict(plan) for name, plan in content["plans"].items()},
            sizes=tuple(ModelSize(**size) for size in content["sizes"]),
            robustness=RobustnessReport.from_dict(content["robustness"]),
            export=ExportReport.from_dict(content["export"]),
        )

    def write_report(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Draw the plots and write report.html into a folder (None: the results folder); return its path."""
        from tf_laq.report import write_report

        folder = Path(self.folder if folder is None else folder)
        attack = ", ".join(f"{name} {value}" for name, value in self.recipe["attack"].items())
        facts = {
            "Data set": f"{self.dataset}, {self.robustness.count} test images",
            "Network": str(self.recipe["model"]),
            "Training": f"adversarial, recipe {self.recipe_name}: {self.recipe['epochs']} epochs of PGD ({attack})",
            "Seeds": f"{self.seed} (model, attacks, data split), {self.twin_seed} (independent twin)",
            "Attacks": f"battery {self.robustness.battery.name}: {', '.join(self.robustness.battery.names)}",
            "Software": f"tf_laq {__version__}",
        }
        return write_report(
            folder / "report.html",
            facts=facts,
            plans=self.plans,
            sizes=self.sizes,
            robustness=self.robustness,
            examples=evaluation.load_examples(folder / EXAMPLES_FOLDER),
            export=self.export,
            command=self.command,
        )

    def __str__(self) -> str:
        return "\n\n".join(
            [
                str(self.plans["lq"]),
                str(self.robustness),
                size_table(self.sizes),
                f"{Path(self.export.path).name}: {self.export.file_bytes:,} bytes\n"
                f"{self.export.size_table()}\n{self.export.parity}",
                f"Results: {self.folder} (open {Path(self.folder) / 'report.html'})",
            ]
        )


_PLAIN_FIELDS = ("folder", "dataset", "recipe_name", "seed", "twin_seed", "command")


def run(
    dataset: str | Dataset = "digits",
    *,
    out: str | os.PathLike[str],
    recipe: str | Recipe = "fast",
    examples: int = 500,
    preset: str = "standard",
    attacks: Sequence[str] | None = None,
    surrogates: Sequence[str] = ("twin",),
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    announce: Announce = _print_now,
    progress: bool = True,
) -> ExperimentResult:
    """Run the paper's experiment and leave every result in a folder.

    `adv` is trained adversarially, and so is a twin with another seed, on which gray-box examples are made.
    `adv` is quantized to `q1`, `q2` and `lq`. The four models are attacked on the first test images, and `lq`
    is exported to TensorFlow Lite. A trained model is used again if the folder has it with the same data set,
    recipe, seed and version, and an evaluation that was interrupted goes on.

    Args:
        dataset: What `datasets.load` returned, or its name.
        out: The results folder.
        recipe: A training recipe, or the name of one for this data set.
        examples: Number N of test images to attack; fewer if the data set has fewer.
        preset: The attacks and their strengths: "standard", "paper" or "strong".
        attacks: Names of the table's columns; None for all.
        surrogates: Where gray-box examples come from: "twin", and "adv" for the quantized models. A gray-box
            cell then counts what withstands both, which makes the row of `adv` look better beside the others.
        keras: The version of Keras that the networks are built with, 2 or 3.
        seed: Seed of `adv` and of the attacks; the twin has the next one.
        retrain: Train even where there is a trained model.
        announce: Receives a line at the start of each stage.
        progress: Show progress bars on a terminal.

    Returns:
        All results; they print as tables.

    Raises:
        InputError: An argument is wrong, or the folder cannot be written.

    Warns:
        UnsatisfiedWarning: Algorithm 1 found no setting for a kernel.
    """
    whole("seed", seed, minimum=0)
    whole("examples", examples)
    data = datasets.load(dataset, seed=seed) if isinstance(dataset, str) else dataset
    battery = Battery.preset(data.name, preset)
    battery = battery if attacks is None else battery.only(attacks)
    for surrogate in surrogates:
        one_of("surrogates", surrogate, ["twin", "adv"])
    named = recipe if isinstance(recipe, str) else "custom"
    recipe = recipe_named(data.name, recipe) if isinstance(recipe, str) else recipe
    if recipe.attack is None:
        raise InputError("recipe", expected="adversarial training", received=f"{named}, which has no attack")
    folder = _results_folder(out)

    trained, reused = _train_both(
        data, recipe, keras, seed, folder, retrain=retrain, announce=announce, progress=progress
    )
    announce("[3/6] Quantize: q1 (3-bit linear), q2 (3-bit log), lq (Algorithm 1)")
    plans = _plans(trained["adv"], progress)
    quantized = {name: api.bake(trained["adv"], plan) for name, plan in plans.items()}
    models = {"adv": trained["adv"], **quantized}
    _save_quantized(folder, plans, quantized)
    images, labels = data.test.images[:examples], data.test.labels[:examples]
    announce(f"[4/6] Attack {', '.join(models)} on {len(images)} test images, battery {battery.name}")
    sources = {name: trained[name] for name in surrogates}
    robustness = evaluation.evaluate(
        models,
        images,
        labels,
        battery=battery,
        surrogates=sources,
        float_twins=dict.fromkeys(quantized, trained["adv"]),
        seed=seed,
        folder=folder / EXAMPLES_FOLDER,
        overwrite=True,
        progress=progress,
    )
    robustness.write(folder)
    announce("[5/6] Export lq to TensorFlow Lite and compare it with the Keras model")
    export = _export(folder, quantized["lq"], plans["lq"], data.test.images[:_COMPARISON_IMAGES])
    settings = {
        "dataset": data.name,
        "recipe": named,
        "preset": preset,
        "examples": examples,
        "keras": keras,
        "seed": seed,
    }
    lists = {"attacks": ",".join(attacks or ()), "surrogates": ",".join(surrogates)}
    result = ExperimentResult(
        folder=str(folder),
        dataset=data.name,
        recipe_name=named,
        recipe=dataclasses.asdict(recipe),
        seed=seed,
        twin_seed=seed + 1,
        reused=reused,
        command=_command({**settings, **lists, "out": out}) if named != "custom" else "",
        plans=plans,
        sizes=_sizes(trained["adv"], plans),
        robustness=robustness,
        export=export,
    )
    announce("[6/6] Write the report")
    files.write_text(folder / "sizes.txt", size_table(result.sizes) + "\n")
    result.save(folder / "experiment.json")
    result.write_report()
    return result


def trained_model(
    data: Dataset,
    recipe: Recipe,
    keras: int,
    seed: int,
    path: Path,
    *,
    retrain: bool = False,
    announce: Announce = _print_now,
    progress: bool = True,
) -> tuple[Any, bool]:
    """Return a trained model and whether it was there already; a new one is saved to `path` with its record.

    A training that was interrupted goes on from its checkpoint, a folder beside `path` until the end. The losses and
    accuracies of each epoch lie beside it too, as `<name>.log.csv`.

    Args:
        data: The data set.
        recipe: The training recipe.
        keras: The version of Keras, 2 or 3.
        seed: The seed.
        path: The `.keras` file; its record lies beside it, as `<name>.training.json`.
        retrain: Train even if `path` was trained with the same data set, recipe, Keras, seed and version.
        announce: Receives a line that says which.
        progress: Show a progress bar on a terminal.
    """
    record_path = path.with_suffix(".training.json")
    settings = {name: value for name, value in dataclasses.asdict(recipe).items() if name != "about"}
    record = TrainingRecord(data.name, settings, keras, seed, __version__, _sha256(path))
    started = hashlib.sha256(json.dumps(dataclasses.replace(record, sha256="").to_dict()).encode()).hexdigest()
    if not retrain and record.sha256 and _saved_record(record_path) == record:
        announce(f"Use the model trained earlier: {path} (same data set, recipe and seed)")
        return load_model(path), True
    kind = "adversarially " if recipe.attack is not None else ""
    announce(f"Train {path.stem} {kind}on {data.name}: {recipe.epochs} epochs, seed {seed}")
    from tf_laq.training.fitting import train

    begun = path.with_suffix(f".{started[:8]}.checkpoint")
    epochs = begun.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    log = keras_module(keras).callbacks.CSVLogger(epochs, append=True)
    model = train(data, recipe, keras=keras, seed=seed, checkpoint=begun, callbacks=[log], progress=progress)
    save_model(model, path)
    epochs.replace(path.with_suffix(".log.csv"))
    dataclasses.replace(record, sha256=_sha256(path)).save(record_path)
    return model, False


def _train_both(
    data: Dataset,
    recipe: Recipe,
    keras: int,
    seed: int,
    folder: Path,
    *,
    retrain: bool,
    announce: Announce,
    progress: bool,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return `adv` and `twin` by name, and the names of those that were there already."""
    trained, reused = {}, []
    for step, (name, its_seed) in enumerate({"adv": seed, "twin": seed + 1}.items(), start=1):
        trained[name], found = trained_model(
            data,
            recipe,
            keras,
            its_seed,
            folder / "models" / f"{name}.keras",
            retrain=retrain,
            announce=_numbered(announce, step),
            progress=progress,
        )
        reused += [name] if found else []
    return trained, tuple(reused)


def _numbered(announce: Announce, step: int) -> Announce:
    return lambda line: announce(f"[{step}/6] {line}")


def _results_folder(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        received = f"{folder} ({error.strerror})"
        raise InputError("out", expected="a folder that can be written", received=received) from error
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _saved_record(path: Path) -> TrainingRecord | None:
    try:
        return TrainingRecord.load(path)
    except InputError:  # None yet, or damaged: the model is trained anew.
        return None


def _plans(model: Any, progress: bool) -> dict[str, QuantizationPlan]:
    return {
        "q1": api.uniform(model, "linear", _UNIFORM_BITS, progress=progress),
        "q2": api.uniform(model, "log", _UNIFORM_BITS, progress=progress),
        "lq": api.search(model, policy="paper", progress=progress),
    }


def _save_quantized(folder: Path, plans: Mapping[str, QuantizationPlan], models: Mapping[str, Any]) -> None:
    for name, plan in plans.items():
        plan.save(folder / PLAN_FILES[name])
        files.write_text((folder / PLAN_FILES[name]).with_suffix(".txt"), f"{plan}\n")
        save_model(models[name], folder / "models" / f"{name}.keras")


def _export(folder: Path, model: Any, plan: QuantizationPlan, images: Any) -> ExportReport:
    from tf_laq.tflite.export import export_tflite

    export = export_tflite(model, folder / "lq.tflite", plan, images=images)
    export.save(folder / "export.json")
    files.write_text(folder / "export.txt", f"{export}\n")
    return export


def _sizes(model: Any, plans: Mapping[str, QuantizationPlan]) -> tuple[ModelSize, ...]:
    parameters = model.count_params()
    quantized = [ModelSize.of(name, plan, parameters) for name, plan in plans.items()]
    return (ModelSize.of("adv", plans["lq"], parameters).in_float32(), *quantized)


def _command(settings: Mapping[str, Any]) -> str:
    given = {name: str(value) for name, value in settings.items() if value != ""}
    return " ".join(["laq demo", *(f"--{name} {shlex.quote(value)}" for name, value in given.items())])
