"""Run a battery of attacks on models."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

from tf_laq._internal.batches import ImageData
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import whole
from tf_laq.attacks.battery import Battery, Column
from tf_laq.attacks.clean import Clean
from tf_laq.errors import InputError
from tf_laq.evaluation.checks import model_checks, report_checks
from tf_laq.evaluation.examples import Examples
from tf_laq.evaluation.models import EvaluatedModel, EvaluatedModels
from tf_laq.evaluation.outcomes import Correct, PartResult
from tf_laq.evaluation.parts import Progress, run_part
from tf_laq.evaluation.plausibility import (
    attacks_of,
    check_attacks,
    checked_expectations,
    plausibility_checks,
)
from tf_laq.evaluation.report import Check, RobustnessReport
from tf_laq.evaluation.store import EvaluationFolder, Inputs
from tf_laq.evaluation.strength import strength_checks
from tf_laq.evaluation.tasks import Task, cells_of, tasks_of

Until = Callable[[Mapping[str, Correct]], bool]
"""Receives where each model was right under every attack so far, shape (n,); returns whether that is enough."""


@typed
def evaluate(
    models: Mapping[str, Any],
    images: ImageData,
    labels: npt.ArrayLike | None = None,
    *,
    battery: Battery,
    indices: npt.ArrayLike | None = None,
    surrogates: Mapping[str, Any] | None = None,
    float_twins: Mapping[str, Any] | None = None,
    batch_size: int = 128,
    part_size: int = 1000,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    check_strength: bool = True,
    expected_clean: float | Mapping[str, float] | None = None,
    until: Until | None = None,
    progress: bool = True,
) -> RobustnessReport:
    """Measure the accuracy of models under every attack of a battery.

    White-box examples are made on each model. Gray-box examples are made once on each surrogate and shown to
    all models; a surrogate that is one of the models is no surrogate for itself. An example that a model
    misclassifies without an attack counts as broken in its gray-box and white-box columns too.

    Where a model may hide its gradients, there is a second search by Auto-PGD on what a white-box attack of several
    steps left standing: from other models' examples and, where entries of the model's input gradients are exactly zero,
    with a gradient completed there. The white-box cells count both searches. This is done for models with a float twin,
    and for others if more than 70 % of those entries are zero, unless the battery says not to.

    The white-box attacks of an ensemble (`Battery.ensemble`) leave out what an earlier one broke. Those that need a
    gradient leave out a model that has none, such as a TensorFlow Lite file.

    The images go through the whole battery in parts, which bounds the memory. In a folder, each finished part is kept,
    and a call with the same inputs goes on after the last one, or returns the kept report if the evaluation was
    finished; there, too, each model's worst examples are saved (`load_examples`). Keras models are told apart by their
    weights and, like all callables, by their outputs for the first images.

    Args:
        models: Name to Keras model, to a callable from float32 images to logits, both tensors or both arrays, or to
            whatever else `Classifier` takes; or to a `Classifier`, which says how the model is to be called.
        images: Floating-point images (n, height, width, channels) in [0, 1], or signals (n, length, channels) or
            features (n, features) for attacks that need no image; or batches of these and labels: a
            `tf.data.Dataset`, a Keras Sequence or PyDataset, or a generator that ends.
        labels: True classes, as whole numbers of shape (n,) or (n, 1) or one-hot; none beside batches.
        battery: The attacks; a clean column is put first if there is none.
        indices: Number of each image in its data set, shape (n,), so that some of the images get the random numbers
            that they get among all. 0 to n - 1 unless told.
        surrogates: The same form as `models`; without any, gray-box cells stay empty.
        float_twins: Name of an evaluated model to the full-precision model it was quantized from.
        batch_size: Largest number of images attacked at a time.
        part_size: Largest number of images in memory with their examples. The report does not depend on it.
        seed: Seed of the random attacks, at least 0.
        folder: A folder of its own for this evaluation; None to keep nothing.
        overwrite: If the folder has an evaluation of other inputs, remove it instead of refusing.
        check_strength: Make the checks that need more runs, on the first 128 images.
        expected_clean: The share of images that the models, or each model by its name, are known to get right without
            an attack; a check says if they get far fewer.
        until: Is asked after each part but the last, with the name of each model and where it was right under every
            attack so far; if it returns True, the evaluation ends there. A later call with the same folder goes on.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Returns:
        The report. That of an evaluation which `until` ended is of the images so far and without checks.

    Raises:
        InputError: An argument is not as above, a model's outputs are not finite logits of these classes, an attack
            cannot be made on such images or has a radius above their diameter, or the folder has an evaluation of
            other inputs.

    Example:
        >>> import tensorflow as tf
        >>> brightness = lambda images: tf.reduce_sum(images - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> images = [[[[0.1]]], [[[0.4]]], [[[0.6]]], [[[0.9]]]]
        >>> battery = Battery.preset("digits").only(["clean", "fgsm_strong"])
        >>> report = evaluate({"brightness": brightness}, images, [0, 0, 1, 1], battery=battery)
        >>> report.accuracy("brightness", "fgsm_strong", "white").value
        0.5
    """
    data = Examples.checked(images, labels, indices, batch_size, seed)
    whole("part_size", part_size)
    if not isinstance(battery, Battery):
        raise InputError("battery", expected="a Battery, as Battery.preset returns", received=repr(battery))
    battery = _with_clean_column(battery)
    check_attacks(attacks_of(battery), data.images)
    parts = data.parts(int(part_size))
    data = dataclasses.replace(data, batch_size=parts[0].batch_size)
    checked = EvaluatedModels.of(models, surrogates or {}, float_twins or {}, data)
    expected = checked_expectations(expected_clean, [model.name for model in checked.models])
    kept = None
    if folder is not None:
        inputs = Inputs.of(checked, data, battery, part_size, check_strength, expected)
        kept = EvaluationFolder(folder, inputs, overwrite=overwrite)
        report = _kept_report(kept)
        if report is not None:
            return report
    checked.check_sources()
    tasks = tasks_of(battery, checked)
    result = _run(parts, tasks, battery, checked.models, kept, until, progress)
    report = RobustnessReport(
        models=tuple(model.name for model in checked.models),
        surrogates=tuple(source.name for source in checked.surrogates),
        battery=battery,
        count=result.count,
        seed=data.seed,
        outcomes=result.outcomes(cells_of(tasks, battery, checked)),
        classes={model.name: model.classes for model in checked.models},
        steps={m.name: m.settled.steps for m in (*checked.models, *checked.surrogates) if m.settled.steps},
    )
    if report.count < len(data.images):
        return report
    found = [
        check
        for model in checked.models
        for check in (
            *plausibility_checks(report, model.name, data.images, data.labels, expected.get(model.name)),
            *_checks(report, model, data, result, check_strength),
        )
    ]
    report = dataclasses.replace(report, checks=tuple(found))
    if kept is not None:
        report.save(kept.report)
    return report


def _kept_report(kept: EvaluationFolder) -> RobustnessReport | None:
    """Return the report of a finished evaluation; None if there is none that can be read."""
    if not kept.report.exists():
        return None
    try:
        return RobustnessReport.load(kept.report)
    except InputError:
        # Damaged, or of an attack that the package does not know: the kept outcomes give it again.
        return None


def _run(
    parts: list[Examples],
    tasks: list[list[Task]],
    battery: Battery,
    models: list[EvaluatedModel],
    folder: EvaluationFolder | None,
    until: Until | None,
    progress: bool,
) -> PartResult:
    """Run the parts that the folder does not have, and return the outcomes of all, or of those that are enough."""
    finished = folder.outcomes() if folder else None
    if finished is not None:
        return finished
    batches = [sum(map(len, tasks)) * part.batches for part in parts]
    results: list[PartResult] = []
    with Progress(sum(batches), progress) as bar:
        for number, part in enumerate(parts):
            result = folder.load(number) if folder else None
            if result is not None:
                bar.finish(result, batches[number])
            else:
                result, worst = run_part(part, tasks, battery, bar, keep_worst=folder is not None)
                if folder is not None:
                    folder.save(number, result, worst)
                bar.finish(result)
            results.append(result)
            if until is not None and len(results) < len(parts):
                so_far = PartResult.joined(results)
                if until({model.name: so_far.surviving(model.name) for model in models}):
                    return so_far
    joined = PartResult.joined(results)
    return folder.finish(joined, parts, models, battery) if folder else joined


def _checks(
    report: RobustnessReport, model: EvaluatedModel, data: Examples, result: PartResult, check_strength: bool
) -> Iterator[Check]:
    yield from model_checks(model, data, result.excess[model.name])
    yield from report_checks(report, model.name)
    if check_strength:
        yield from strength_checks(report, model, data)


def _with_clean_column(battery: Battery) -> Battery:
    if any(isinstance(attack, Clean) for column in battery.columns for attack in column.attacks.values()):
        return battery
    clean = Column(name="clean", attacks={"none": Clean()})
    return dataclasses.replace(battery, columns=(clean, *battery.columns))
