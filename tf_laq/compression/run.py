"""From a model and data to the file to ship."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from tf_laq._internal import files, optional
from tf_laq._internal.messages import Announce, print_now
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import whole
from tf_laq.compression import candidates
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.places import FILE, FULL, INPUTS, PAGE, RECOMMENDED, RESULTS, WORK, attacked
from tf_laq.compression.racing import Judge, Race
from tf_laq.compression.recommendation import recommend
from tf_laq.compression.result import ORIGINAL, CompressedModel, Compression, FileCheck
from tf_laq.compression.rule import Rule
from tf_laq.compression.task import Task
from tf_laq.compression.workbench import Workbench
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.evaluation import AdversarialExamples, Correct, load_examples
from tf_laq.evaluation.classifier import SettledClassifier
from tf_laq.evaluation.workers import check_executor
from tf_laq.saving import save_model
from tf_laq.tflite.encodings import Layout
from tf_laq.tflite.settings import check_settings
from tf_laq.training.finetuning import check_can_be_tuned
from tf_laq.training.recipes import Recipe
from tf_laq.version import __version__

# A file is its codes and a rest, which differs from plan to plan. How often the size of the codes is corrected, and how
# near to the limit is enough.
_TRIES = 6
_NEAR = 0.02
# Images at the decision boundary may fall to the other side, but not so large a share of all.
_MOST_OTHERS = 0.1

Made = tuple[Candidate, CompressedModel]


@typed
def compress(
    model: Any,
    data: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    epsilon: float | None = None,
    norm: str = "linf",
    preset: str = "strong",
    rule: Rule | None = None,
    fine_tune: Recipe | None = None,
    also: Sequence[Candidate] = (),
    layout: Layout = "packed",
    examples: int = 1000,
    batch_size: int = 128,
    seed: int = 0,
    overwrite: bool = False,
    command: str = "",
    executor: Executor | None = None,
    announce: Announce = print_now,
    progress: bool = True,
) -> Compression:
    """Quantize a model in several ways, attack what can win, and write the smallest file that is as robust.

    The candidates: eight bits everywhere, the policy "guarded", "budget" at three sizes and at the rule's own, and,
    where there are training images, "calibrated" at two. `training.match_statistics` corrects each on training images
    or, without any, on `training.textures` if the model has batch normalisation. Every candidate becomes a real file.
    All meet PGD; those that can still keep the rule then meet the whole battery, the smallest file first. With a
    recipe, plans whose file is smaller than the winner's are fine-tuned under their bits, from the smallest on, until
    one keeps the rule.

    A compression that was stopped goes on where it was if it is started again, and one with another rule, recipe or
    number of images uses what is there. What it needs for that is in the folder `work`, which may be removed.

    Args:
        model: A built Keras model, which stays as it is; or a `Classifier` of one, which says how it is to be called.
        data: What `datasets.load` takes, or returned.
        out: The folder of the results: in `recommended`, the file `model.tflite` with its plan and its Keras model; the
            page `report.html`; and `compression.json`, which `Compression.load` reads.
        epsilon: The attack's radius in pixel units of [0, 1]; None for that of the data set's presets.
        norm: "linf" or "l2".
        preset: The attacks of the worst case: "strong", "standard", or for data with presets "paper".
        rule: What the file has to keep; None for a loss of at most one point.
        fine_tune: The recipe to fine-tune by; None for no training.
        also: Further candidates.
        layout: Of the files: "packed" for the fewest bytes, "int8" for the speed of float32, "auto" between.
        examples: Number of test images, from the first on.
        batch_size: Number of images attacked at a time.
        seed: Of the attacks and the training.
        overwrite: If the folder has a compression of another model, other training images or another radius, layout or
            seed, begin anew instead of refusing.
        command: The command line that makes these results.
        executor: Runs the attacks in other processes, as in `evaluate`: up to four at once.
        announce: Receives a line at the start of each stage.
        progress: Show progress bars; in files and pipes, a line a minute.

    Returns:
        All models with their files and losses, and the recommendation; it prints as a table.

    Raises:
        InputError: An argument is wrong, the model and the data do not fit, or no plan is as small as the rule says.
    """
    optional.check_extra("report")
    check_executor(executor)
    whole("batch_size", batch_size)
    whole("seed", seed, minimum=0)
    rule = Rule() if rule is None else rule
    check_settings(layout, compress=None, min_runtime=None)
    task = Task.of(model, data, epsilon=epsilon, norm=norm, preset=preset, examples=examples)
    if fine_tune is not None and not task.can_train:
        expected = "None without training images, or for a model that does not take images in [0, 1], channels last"
        raise InputError("fine_tune", expected=expected, received=f"a recipe of {fine_tune.epochs} epochs")
    if fine_tune is not None:
        check_can_be_tuned(task.model, task.dataset, fine_tune)
    folder = Path(out)
    _check_folder(folder, overwrite)
    with files.locked(folder / RESULTS):
        bench = Workbench(
            folder / WORK, task, layout, seed, batch_size=batch_size, overwrite=overwrite, progress=progress
        )
        judge = Judge(task=task, bench=bench, batch_size=batch_size, seed=seed, executor=executor, progress=progress)
        race = _raced(judge, rule, fine_tune, also, _timed(announce))
        recommendation = recommend(race, rule)
        result = Compression(
            facts={**_facts(task), "Rule": str(rule), "Layout of the files": layout, **_training(fine_tune)},
            rule=rule,
            models=race.in_order(),
            screening=race.screening,
            robustness=race.robustness,
            recommendation=recommendation,
            file_check=_file_check(judge, race.models[recommendation.name]),
            command=command,
        )
        _write(folder, bench, result)
    return result


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with results that are not of a compression that can go on."""
    if folder.exists() and not folder.is_dir():
        raise InputError("out", expected="a folder", received=f"the file {folder}")
    recommended = folder / RECOMMENDED
    foreign = recommended.exists() and not (recommended / FILE).is_file()
    mine = (folder / WORK / INPUTS).is_file() or overwrite
    there = [place for place in (RESULTS, PAGE, RECOMMENDED) if (folder / place).exists()]
    if foreign or (there and not mine):
        raise InputError(
            "out",
            expected=f"a new folder, or one of a compression with its folder {WORK}",
            received=f"{folder}, which has {RECOMMENDED if foreign else there[0]} of something else",
            remedy="Choose another folder." if foreign else "Choose another folder, or set overwrite=True.",
        )


def _facts(task: Task) -> dict[str, str]:
    data = task.dataset
    return {
        "Model": f"{task.model.name}, {task.model.count_params():,} parameters",
        "Data": f"{data.name}, {len(task.test)} test images, {len(data.train)} training images",
        "Attacks": f"{task.battery.name}. {task.battery.source}",
        "Release": f"tf_laq {__version__}",
    }


def _training(recipe: Recipe | None) -> dict[str, str]:
    return {"Fine-tuning": "none" if recipe is None else f"adversarial, {recipe.epochs} epochs"}


def _raced(judge: Judge, rule: Rule, recipe: Recipe | None, also: Sequence[Candidate], say: Announce) -> Race:
    """Make the candidates and race them; with a recipe, race smaller ones that were fine-tuned too."""
    task, bench = judge.task, judge.bench
    measured = candidates.calibrated(task.dataset.train, task.attack, judge.seed) if task.can_train else []
    ways = [*candidates.data_free(), *measured, *also]
    names = [ORIGINAL, *(candidate.name for candidate in ways)]
    for candidate in also:
        if names.count(candidate.name) > 1:
            raise InputError("also", expected=f"other names than {', '.join(names)}", received=repr(candidate.name))
    pairs = list(_made(bench, ways, rule, say))
    race = Race(judge, rule, bench.original(), say)
    pairs.sort(key=lambda pair: (pair[1].bytes, pair[0].name))
    race.enter(model for _, model in pairs)
    plans_tuned = []
    for candidate, model in pairs:
        race.judge(candidate, model)
        can_be_tuned = candidate.can_be_tuned and model.settings not in plans_tuned
        if recipe is not None and can_be_tuned and race.would_win(model):
            plans_tuned.append(model.settings)
            tuned = candidate.tuned(recipe)
            say(f"{tuned.name}: fine-tuning, {recipe.epochs} epochs")
            made = bench.make(tuned, model.plan)
            race.enter([made])
            race.judge(tuned, made)
    return race


def _timed(announce: Announce) -> Announce:
    """Return a function that puts the minutes since now before a line."""
    begun = time.monotonic()
    return lambda line: announce(f"[{(time.monotonic() - begun) / 60:5.1f} min] {line}")


def _made(bench: Workbench, ways: Sequence[Candidate], rule: Rule, say: Announce) -> Iterator[Made]:
    """Make all candidates, and one of the rule's size."""
    made: list[CompressedModel] = []
    for candidate in ways:
        say(f"{candidate.name}: making the plan, the model and the file")
        made.append(bench.make(candidate))
        yield candidate, made[-1]
    if rule.max_bytes is not None:
        say(f"making a file of at most {rule.max_bytes:,} bytes")
        yield from _fitted(bench, rule.max_bytes, made)


def _fitted(bench: Workbench, limit: int, made: Sequence[CompressedModel]) -> list[Made]:
    """Return the candidate with as many bits as a file of so many bytes can have, if one was found."""
    rests = [model.bytes - model.code_bytes for model in made]
    tried: list[Made] = []
    for _ in range(_TRIES):
        # What a file takes beside its codes is about that of the last one.
        if limit <= rests[-1]:
            break
        candidate = candidates.of_bytes(limit - rests[-1])
        try:
            tried.append((candidate, bench.make(candidate)))
        except InputError:  # The narrowest settings take more.
            break
        found = tried[-1][1]
        rests.append(found.bytes - found.code_bytes)
        if 0 <= limit - found.bytes <= _NEAR * limit:
            break
    fitting = [pair for pair in tried if pair[1].bytes <= limit]
    if fitting:
        return [max(fitting, key=lambda pair: pair[1].bytes)]
    smallest = min(model.bytes for model in [*made, *(model for _, model in tried)])
    if smallest > limit:
        raise InputError(
            "max_bytes",
            expected=f"a size that a plan can keep: the smallest file that was made takes {smallest:,} bytes, of which "
            f"{min(rests):,} are for what is not a code",
            received=limit,
            remedy="Allow a larger file.",
        )
    return []


def _file_check(judge: Judge, made: CompressedModel) -> FileCheck:
    """Run the file on the examples that its Keras model is least right about."""
    task = judge.task
    found = [load_examples(judge.folder(made, battery))[0] for battery in (task.quick, task.battery)]
    worst = found[0]
    classifier = dataclasses.replace(
        task.classifier,
        model=str(judge.bench.file(made)),
        outputs="probabilities" if task.settled.left_out else task.classifier.outputs,
        bounds=task.settled.bounds,
    )
    file = classifier.settled(worst.clean[:1], worst.labels[:1], "file")
    right = np.logical_and.reduce([_right(file, each) for each in found])
    expected = np.logical_and.reduce([each.correct for each in found])
    same = right == expected
    if (~same).sum() > max(_MOST_OTHERS * len(same), 2):
        raise InputError(
            str(judge.bench.file(made)),
            expected="a file with the verdicts of its Keras model on the images of the attacks",
            received=f"one with the same verdict on {int(same.sum())} of {len(same)}",
            remedy="Set overwrite=True to make it anew, and report it if that does not help.",
        )
    return FileCheck(count=len(right), withstood=int(right.sum()), same=int(same.sum()))


def _right(file: SettledClassifier, examples: AdversarialExamples) -> Correct:
    # Files take one image at a time.
    logits = [np.asarray(file.logits(image[None]))[0] for image in examples.images]
    return np.asarray(np.argmax(logits, axis=1) == examples.labels)


def _write(folder: Path, bench: Workbench, result: Compression) -> None:
    from tf_laq.report import write_compression

    chosen = result.recommended
    # All of it is made before any of it takes its place.
    with (
        files.replacing_together(folder) as beside,
        files.replacing_folder(folder / RECOMMENDED, FILE) as temporary,
    ):
        result.save(beside / RESULTS)
        write_compression(beside / PAGE, result, examples=_examples(folder, result))
        temporary.mkdir()
        shutil.copyfile(bench.file(chosen), temporary / FILE)
        save_model(bench.model(chosen), temporary / "model.keras")
        if chosen.plan is not None:
            chosen.plan.save(temporary / "plan.json")
        chosen.export.save(temporary / "export.json")


def write_page(folder: str | os.PathLike[str], result: Compression) -> Path:
    """Write report.html into the folder of a compression, and return its path.

    Adversarial examples are shown if the folder still has those of the attacks.
    """
    from tf_laq.report import write_compression

    return write_compression(Path(folder) / PAGE, result, examples=_examples(folder, result))


def _examples(folder: str | os.PathLike[str], result: Compression) -> list[AdversarialExamples]:
    """Return the adversarial examples of the original and the recommended model, if the folder still has them."""
    shown, count = dict.fromkeys([ORIGINAL, result.recommendation.name]), result.robustness.count
    return [each for name in shown for each in load_examples(Path(folder, WORK, attacked(name, FULL, count)))]
