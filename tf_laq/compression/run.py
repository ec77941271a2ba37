"""From a model and data to the file to ship."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from tf_laq import datasets
from tf_laq._internal import files
from tf_laq._internal.messages import Announce, print_now
from tf_laq._internal.validation import whole
from tf_laq.attacks import PGD, Battery
from tf_laq.compression import candidates
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.racing import Judge, Race
from tf_laq.compression.result import (
    ORIGINAL,
    CompressedModel,
    Compression,
    FileCheck,
    Recommendation,
    Rule,
    clean_loss,
    points,
    worst_loss,
)
from tf_laq.compression.workbench import Data, Inputs, Workbench, check_folder, fingerprint
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier, RobustnessReport, load_examples
from tf_laq.evaluation.classifier import UNIT, SettledClassifier
from tf_laq.plan import QuantizationPlan
from tf_laq.saving import save_model
from tf_laq.tflite.encodings import Layout
from tf_laq.training.recipes import Recipe
from tf_laq.version import __version__

RECOMMENDED = "recommended"
RESULTS = "compression.json"
_WORK = "work"
_FIRST_IMAGES = 32
# The file's size is what the codes take and a rest that differs a little between plans.
_TRIES = 4


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
    announce: Announce = print_now,
    progress: bool = True,
) -> Compression:
    """Quantize a model in several ways, attack what can win, and write the smallest file that is as robust.

    The candidates: eight bits everywhere, the policy "guarded", "budget" at three sizes and at the rule's own, and,
    where there are training images, "calibrated" at two. With training images, the statistics of a model with batch
    normalisation are matched after each. Every candidate becomes a real file. All meet PGD; those that can still keep
    the rule then meet the whole battery, the smallest file first. With a recipe, plans whose file is smaller than the
    winner's are fine-tuned under their bits, from the smallest on, until one keeps the rule.

    A compression that was stopped goes on where it was if it is started again with the same arguments. What it needs
    for that is in the folder `work`, which may be removed at the end.

    Args:
        model: A built Keras model, which stays as it is; or a `Classifier` of one, which says how it is to be called.
        data: What `datasets.load` takes, or returned.
        out: The folder of the results: in `recommended`, the file `model.tflite` with its plan and its Keras model; and
            `compression.json`, which `Compression.load` reads.
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
        overwrite: If the folder has a compression of another model, data or settings, begin anew instead of refusing.
        command: The command line that makes these results.
        announce: Receives a line at the start of each stage.
        progress: Show progress bars on a terminal.

    Returns:
        All models with their files and losses, and the recommendation; it prints as a table.

    Raises:
        InputError: An argument is wrong, the model and the data do not fit, or no plan is as small as the rule says.
    """
    rule = Rule() if rule is None else rule
    whole("examples", examples)
    loaded = datasets.load(data) if not isinstance(data, Dataset) else data
    classifier = Classifier.of(model)
    test = Split(loaded.test.images[:examples], loaded.test.labels[:examples])
    settled = classifier.settled(test.images[:_FIRST_IMAGES], test.labels[:_FIRST_IMAGES])
    _check_classes(settled, loaded)
    battery, quick = _batteries(loaded, epsilon, norm, preset)
    attack = dataclasses.replace(cast("PGD", quick.only("pgd").columns[0].attacks["white"]), steps=10, step_size=None)
    direct = settled.bounds == UNIT and classifier.preprocessing is None and classifier.data_format == "channels_last"
    if fine_tune is not None and not (direct and len(loaded.train)):
        expected = "training images, and a model of images in [0, 1]" if not direct else "training images"
        raise InputError("fine_tune", expected=expected, received=f"{len(loaded.train)} images; {settled.steps}")
    folder = check_folder(out)
    settings = {
        "battery": battery.to_dict(),
        "quick": quick.to_dict(),
        "rule": dataclasses.asdict(rule),
        "fine_tune": None if fine_tune is None else dataclasses.asdict(fine_tune),
        "also": [candidate.name for candidate in also],
        "classifier": classifier.settings,
        "layout": layout,
        "seed": seed,
    }
    splits = (loaded.train, test)
    inputs = Inputs(
        release=__version__,
        model=fingerprint(classifier.model.get_weights()),
        data=" ".join(split.sha256 for split in splits),
        settings=settings,
    )
    probe = test.images[:_FIRST_IMAGES] if direct and len(test) >= _FIRST_IMAGES else None
    corrects = direct and len(loaded.train) > 0
    bench = Workbench(
        folder / _WORK,
        inputs,
        classifier.model,
        Data(loaded, probe, attack, seed, corrects),
        layout,
        overwrite=overwrite,
    )
    judge = Judge(
        images=test,
        battery=battery,
        quick=quick,
        classifier=classifier,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    begun = time.monotonic()

    def say(line: str) -> None:
        announce(f"[{(time.monotonic() - begun) / 60:5.1f} min] {line}")

    ways = [*candidates.data_free(), *also]
    if corrects:
        ways += candidates.calibrated(loaded.train.images, attack, seed)
    made = []
    for candidate in ways:
        say(f"{candidate.name}: making the plan, the model and the file")
        made.append((candidate, bench.make(candidate)))
    if rule.max_bytes is not None:
        made.append(_fitted(bench, rule.max_bytes, [model for _, model in made]))
    race = Race(bench, judge, rule, bench.original(ORIGINAL), say)
    race.run(made)
    if fine_tune is not None:
        for candidate, plan in _tuned(race, made, fine_tune):
            say(f"{candidate.name}: fine-tuning, {fine_tune.epochs} epochs")
            race.run([(candidate, bench.make(candidate, plan))])
    recommendation = _recommended(race, rule)
    result = Compression(
        facts={
            "Model": f"{classifier.model.name}, {classifier.model.count_params():,} parameters",
            "Data": f"{loaded.name}, the first {len(test)} test images, {len(loaded.train)} training images",
            "Attacks": f"{battery.name}: {battery.source}",
            "Rule": str(rule),
            "Layout of the files": layout,
            "Fine-tuning": "none" if fine_tune is None else f"{fine_tune.epochs} epochs of adversarial training",
            "tf_laq": __version__,
        },
        rule=rule,
        models=(race.models[ORIGINAL], *sorted(_compressed(race), key=lambda model: (model.bytes, model.name))),
        screening=race.screening,
        robustness=race.robustness,
        recommendation=recommendation,
        file_check=_file_check(bench, judge, race.models[recommendation.name], settled, test),
        command=command,
    )
    _write(folder, bench, result)
    return result


def _check_classes(settled: SettledClassifier, data: Dataset) -> None:
    if settled.classes != len(data.classes):
        raise InputError(
            "data",
            expected=f"images of {settled.classes} classes, as many as the model has",
            received=f"{data.name} with {len(data.classes)}: {', '.join(data.classes[:10])}",
            remedy="Give the data that the model was trained on.",
        )


def _batteries(data: Dataset, epsilon: float | None, norm: str, preset: str) -> tuple[Battery, Battery]:
    """Return the attacks of the worst case, and those of the screening."""
    if epsilon is not None:
        return tuple(Battery.within(epsilon, norm=norm, preset=name) for name in (preset, "quick"))  # type: ignore[return-value]
    if data.name not in ("digits", "mnist", "cifar10"):
        raise InputError("epsilon", expected=f"a radius, since {data.name} has no presets", received="none")
    return Battery.preset(data.name, preset), Battery.preset(data.name, "standard").only(["clean", "pgd"])


def _fitted(bench: Workbench, limit: int, made: Sequence[CompressedModel]) -> tuple[Candidate, CompressedModel]:
    """Return the candidate with as many bits as a file of so many bytes can have."""
    rest = min(model.bytes - model.plan.bytes for model in made if model.plan is not None)
    smallest = min(model.bytes for model in made)
    for _ in range(_TRIES):
        if limit <= rest:
            break
        candidate = candidates.of_bytes(limit - rest)
        try:
            found = bench.make(candidate)
        except InputError:  # The narrowest settings take more.
            break
        smallest = min(smallest, found.bytes)
        if found.bytes <= limit:
            return candidate, found
        rest += found.bytes - limit
    raise InputError(
        "max_bytes",
        expected=f"a size that a plan can keep: the smallest file that was made takes {smallest:,} bytes, of which "
        f"{rest:,} are for what is not quantized",
        received=limit,
        remedy="Allow a larger file.",
    )


def _tuned(
    race: Race, made: Sequence[tuple[Candidate, CompressedModel]], recipe: Recipe
) -> Iterator[tuple[Candidate, QuantizationPlan]]:
    """Yield what to fine-tune, from the smallest file on, as long as it would be smaller than the winner."""
    for candidate, model in sorted(made, key=lambda pair: pair[1].bytes):
        smaller = race.winner is None or model.bytes < race.models[race.winner].bytes
        if candidate.can_be_tuned and smaller and model.plan is not None:
            yield candidate.tuned(recipe), model.plan


def _compressed(race: Race) -> Iterator[CompressedModel]:
    return (model for name, model in race.models.items() if name != ORIGINAL)


def _recommended(race: Race, rule: Rule) -> Recommendation:
    name = race.winner
    if name is None:
        name = ORIGINAL if rule.max_bytes is None else race.take_nearest()
    reason = _reason(race.models, race.screening, race.robustness, name)
    if race.winner is None:
        reason = f"No candidate is {rule}. {reason}"
    return Recommendation(name=name, keeps_rule=race.winner is not None, reason=reason)


def _reason(
    models: dict[str, CompressedModel], screening: RobustnessReport, robustness: RobustnessReport, name: str
) -> str:
    original, chosen = models[ORIGINAL], models[name]
    weak = ""
    if robustness.worst_case(ORIGINAL).value < 1 / robustness.classes[ORIGINAL]:
        weak = f" The original itself withstands only {robustness.worst_case(ORIGINAL)} % of the images."
    if name == ORIGINAL:
        return f"Ship {name}, which is not quantized: {original.bytes:,} bytes.{weak}"
    worst, clean = worst_loss(robustness, name), clean_loss(screening, name)
    return (
        f"Ship {name}: {chosen.bytes:,} bytes instead of {original.bytes:,}, {original.bytes / chosen.bytes:.1f} times "
        f"smaller, at {chosen.average_bits:.2f} bits a weight. Its worst case is {_below(worst.value)} the original's "
        f"(95 %: {worst.lower:.1f} to {worst.upper:.1f}), its accuracy without an attack {_below(clean.value)}, on "
        f"{robustness.count:,} images.{weak}"
    )


def _below(loss: float) -> str:
    return f"{points(round(abs(loss), 1))} {'below' if loss >= 0 else 'above'}"


def _file_check(
    bench: Workbench, judge: Judge, made: CompressedModel, settled: SettledClassifier, test: Split
) -> FileCheck:
    """Run the file on the examples that its Keras model is least right about."""
    (worst,) = load_examples(judge.folder(bench, made.name, judge.battery, len(test)))
    outputs = "probabilities" if settled.left_out else judge.classifier.outputs
    file = dataclasses.replace(
        judge.classifier, model=str(bench.file(made.name)), outputs=outputs, bounds=settled.bounds
    ).settled(test.images[:1], test.labels[:1], "file")
    logits = [np.asarray(file.logits(worst.images[row : row + 1]))[0] for row in range(len(worst.images))]
    right = np.argmax(logits, axis=1) == worst.labels
    return FileCheck(count=len(right), withstood=int(right.sum()), same=int((right == worst.correct).sum()))


def _write(folder: Path, bench: Workbench, result: Compression) -> None:
    chosen = result.recommended
    with files.replacing_folder(folder / RECOMMENDED, "model.tflite") as temporary:
        temporary.mkdir()
        shutil.copyfile(bench.file(chosen.name), temporary / "model.tflite")
        save_model(bench.model(chosen), temporary / "model.keras")
        if chosen.plan is not None:
            chosen.plan.save(temporary / "plan.json")
        chosen.export.save(temporary / "export.json")
    result.save(folder / RESULTS)
