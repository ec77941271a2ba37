"""Run a battery of attacks on models."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor
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
from tf_laq.evaluation.store import EvaluationFolder, Inputs, opened_folder
from tf_laq.evaluation.strength import strength_checks
from tf_laq.evaluation.tasks import Task, cells_of, tasks_of
from tf_laq.evaluation.workers import FinishedPart, check_executor, finished_parts, packed

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
    executor: Executor | None = None,
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

    The images go through the whole battery in parts, which bounds the memory. With an executor, several parts are
    worked on at once, each in one process, and the report is the same: bit for bit, if all processes compute alike. In
    a folder, each finished part is kept, and a call with the same inputs goes on with the parts that are missing, or
    returns the kept report if the evaluation was finished; there, too, each model's worst examples are saved
    (`load_examples`). Keras models are told apart by their weights and, like all callables, by their outputs for the
    first images.

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
        part_size: Largest number of images in memory with their examples, which are also those that an executor runs
            at once in a process. The report does not depend on it.
        seed: Seed of the random attacks, at least 0.
        folder: A folder of its own for this evaluation; None to keep nothing.
        overwrite: If the folder has an evaluation of other inputs, remove it instead of refusing.
        check_strength: Make the checks that need more runs, on the first 128 images.
        expected_clean: The share of images that the models, or each model by its name, are known to get right without
            an attack; a check says if they get far fewer.
        until: Is asked after each part but the last, with the name of each model and where it was right under every
            attack so far; if it returns True, the evaluation ends there. A later call with the same folder goes on.
        executor: Runs the parts: a `concurrent.futures.Executor` of processes on this machine or others, such as a
            `ProcessPoolExecutor` that spawns them, or Dask's `client.get_executor()`. The file of a model that is given
            by its path has to be on all machines. None to run the parts here, one after the other.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Returns:
        The report. That of an evaluation which `until` ended is of the images so far and without checks.

    Raises:
        InputError: An argument is not as above, a model's outputs are not finite logits of these classes, an attack
            cannot be made on such images or has a radius above their diameter, or the folder has an evaluation of
            other inputs or is in use by another run; a model cannot be sent to other processes, or one of these has
            ended.

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
    check_executor(executor)
    if not isinstance(battery, Battery):
        raise InputError("battery", expected="a Battery, as Battery.preset returns", received=repr(battery))
    battery = _with_clean_column(battery)
    check_attacks(attacks_of(battery), data.images)
    parts = data.parts(int(part_size))
    data = dataclasses.replace(data, batch_size=parts[0].batch_size)
    checked = EvaluatedModels.of(models, surrogates or {}, float_twins or {}, data)
    expected = checked_expectations(expected_clean, [model.name for model in checked.models])
    with contextlib.ExitStack() as held:
        kept = None
        if folder is not None:
            inputs = Inputs.of(checked, data, battery, part_size, check_strength, expected)
            kept = held.enter_context(opened_folder(folder, inputs, overwrite=overwrite))
            report = _kept_report(kept)
            if report is not None:
                return report
        checked.check_sources()
        tasks = tasks_of(battery, checked)
        result = _run(parts, tasks, battery, checked, kept, until, executor, progress)
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
    models: EvaluatedModels,
    folder: EvaluationFolder | None,
    until: Until | None,
    executor: Executor | None,
    progress: bool,
) -> PartResult:
    """Run the parts that the folder does not have, and return the outcomes of all, or of those that are enough."""
    finished = folder.outcomes() if folder else None
    if finished is not None:
        return finished
    batches = [sum(map(len, tasks)) * part.batches for part in parts]
    keep_worst = folder is not None

    def run(left: Mapping[int, Examples]) -> Iterator[FinishedPart]:
        if executor is None:
            yield from ((n, run_part(part, tasks, battery, bar, keep_worst=keep_worst)) for n, part in left.items())
        elif left:
            yield from finished_parts(executor, packed(models, battery, keep_worst=keep_worst), left)

    with Progress(sum(batches), progress) as bar, contextlib.closing(_results(parts, folder, run)) as results:
        early: dict[int, PartResult] = {}
        in_order: list[PartResult] = []
        for number, result in results:
            bar.finish(result, batches[number])
            early[number] = result
            while len(in_order) in early:
                in_order.append(early.pop(len(in_order)))
                if until is not None and len(in_order) < len(parts):
                    so_far = PartResult.joined(in_order)
                    if until({model.name: so_far.surviving(model.name) for model in models.models}):
                        return so_far
    joined = PartResult.joined(in_order)
    return folder.finish(joined, parts, models.models, battery) if folder else joined


def _results(
    parts: list[Examples],
    folder: EvaluationFolder | None,
    run: Callable[[Mapping[int, Examples]], Iterator[FinishedPart]],
) -> Generator[tuple[int, PartResult]]:
    """Yield the outcomes of the parts that the folder has, then those of the others, which it keeps, as they come."""
    left = dict(enumerate(parts))
    for number in range(len(parts)):
        result = folder.load(number) if folder else None
        if result is not None:
            del left[number]
            yield number, result
    for number, (result, worst) in run(left):
        if folder is not None:
            folder.save(number, result, worst)
        yield number, result


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
