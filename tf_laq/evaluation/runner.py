"""Run a battery of attacks on models."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from tf_laq.adapters import logits_function
from tf_laq.attacks.base import Attack, Images, Indices, Labels, Logits, MinimumNormAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery, Column
from tf_laq.attacks.checks import check_logits, checked_images, checked_labels, whole
from tf_laq.attacks.clean import Clean
from tf_laq.errors import InputError
from tf_laq.evaluation.report import Correct, Outcome, RobustnessReport


def evaluate(
    models: Mapping[str, Any],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    battery: Battery,
    surrogates: Mapping[str, Any] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> RobustnessReport:
    """Measure the accuracy of models under every attack of a battery.

    White-box examples are made on each model. Gray-box examples are made once on each surrogate and shown to
    all models; a surrogate that is one of the models is no surrogate for itself. An example that a model
    misclassifies without an attack counts as broken in its gray-box and white-box columns too.

    Args:
        models: Name to Keras model, or to a callable from float32 images to logits.
        images: Floating-point images (n, height, width, channels) in [0, 1].
        labels: True class numbers, shape (n,).
        battery: The attacks; a clean column is put first if there is none.
        surrogates: The same form as `models`; without any, gray-box cells stay empty.
        batch_size: Largest number of images attacked at a time.
        seed: Seed of the random attacks, at least 0.
        progress: Show a progress bar if the output is a terminal.

    Returns:
        The report.

    Raises:
        InputError: An argument is not as above, or a model's outputs are not finite logits of these classes.

    Example:
        >>> brightness = lambda images: tf.reduce_sum(images - 0.5, [1, 2, 3])[:, None] * [[-1.0, 1.0]]
        >>> images = np.array([0.1, 0.4, 0.6, 0.9]).reshape(4, 1, 1, 1)
        >>> battery = Battery.preset("digits").only(["clean", "fgsm_strong"])
        >>> report = evaluate({"brightness": brightness}, images, [0, 0, 1, 1], battery=battery)
        >>> report.accuracy("brightness", "fgsm_strong", "white").value
        0.5
    """
    images = checked_images(images)
    labels = checked_labels(labels, len(images))
    whole("batch_size", batch_size)
    whole("seed", seed, minimum=0)
    if not isinstance(battery, Battery):
        raise InputError("battery", expected="a Battery, as Battery.preset returns", received=repr(battery))
    battery = _with_clean_column(battery)
    # Equal batches of at most `batch_size`, so that little of the last one is filling.
    batches = -(-len(images) // batch_size)
    data = _Data(images, labels, -(-len(images) // batches), seed)
    known: dict[int, Logits] = {}
    evaluated = _subjects("models", models, data, known)
    sources = _subjects("surrogates", surrogates or {}, data, known)
    tasks = list(_tasks(battery, evaluated, sources))
    outcomes: list[Outcome] = []
    hidden = None if progress else True
    with (
        _without_retracing_advice(),
        tqdm(total=len(tasks) * data.batches, disable=hidden, unit="batch") as bar,
    ):
        right = {subject.name: data.correct(subject.logits, images) for subject in evaluated}
        for task in tasks:
            bar.set_description(f"{task.source.name}: {task.attack.name}")
            outcomes += _run(task, data, right, bar)
    return RobustnessReport(
        models=tuple(subject.name for subject in evaluated),
        surrogates=tuple(source.name for source in sources),
        battery=battery,
        count=len(images),
        seed=int(seed),
        outcomes=tuple(sorted(outcomes, key=_order(battery, evaluated, sources))),
    )


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A model to evaluate or to make examples on."""

    name: str
    logits: Logits


@dataclasses.dataclass(frozen=True)
class _Victim:
    """A model that is shown the examples of a task, and the cell of the table that the outcome belongs to."""

    subject: _Subject
    column: str
    knowledge: str
    surrogate: str | None


@dataclasses.dataclass(frozen=True)
class _Task:
    """One attack on one model: its examples are made once and shown to all victims."""

    attack: Attack
    source: _Subject
    victims: list[_Victim]


@dataclasses.dataclass(frozen=True)
class _Data:
    """The examples, in batches of one size: another size would make TensorFlow trace every model again."""

    images: Images
    labels: Labels
    batch_size: int
    seed: int

    @property
    def batches(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Indices]:
        """Yield the numbers of each batch's examples; the last example fills the last batch up."""
        for start in range(0, self.batches * self.batch_size, self.batch_size):
            yield np.minimum(np.arange(start, start + self.batch_size), len(self.images) - 1)

    def correct(self, logits: Logits, images: Images) -> Correct:
        """Return where a model gives the true labels for versions of the images."""
        predicted = [np.argmax(logits(tf.constant(images[numbers])), axis=1) for numbers in self]
        return np.asarray(np.concatenate(predicted)[: len(images)] == self.labels)


@contextlib.contextmanager
def _without_retracing_advice() -> Iterator[None]:
    """Hide TensorFlow's advice against tracing often: an evaluation needs one graph per model and attack."""

    def other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _with_clean_column(battery: Battery) -> Battery:
    if any(isinstance(attack, Clean) for column in battery.columns for attack in column.attacks.values()):
        return battery
    clean = Column(name="clean", attacks={"none": Clean()})
    return dataclasses.replace(battery, columns=(clean, *battery.columns))


def _subjects(argument: str, models: Mapping[str, Any], data: _Data, known: dict[int, Logits]) -> list[_Subject]:
    """Return the models as callables that give logits for these images; `known` keeps one for each."""
    if not isinstance(models, Mapping) or (argument == "models" and not models):
        expected = "a mapping from names to models"
        raise InputError(argument, expected=expected, received=repr(models), remedy='Give {"name": model}.')
    for model in models.values():
        known.setdefault(id(model), logits_function(model))
    subjects = [_Subject(str(name), known[id(model)]) for name, model in models.items()]
    numbers = next(iter(data))
    for subject in subjects:
        named = f"{argument}[{subject.name!r}]"
        try:
            outputs = np.asarray(subject.logits(tf.constant(data.images[numbers])))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(
                named,
                expected=f"a model of images of shape {data.images.shape[1:]}",
                received=f"an error from it: {str(error).splitlines()[0]}",
                remedy="Give images of the shape that the model was built for.",
            ) from error
        check_logits(outputs, data.labels[numbers], named)
    return subjects


def _tasks(battery: Battery, models: list[_Subject], surrogates: list[_Subject]) -> Iterator[_Task]:
    """Yield every attack on every model once, with all the cells that its examples fill."""
    for column in battery.columns:
        tasks: dict[tuple[Attack, Logits], _Task] = {}
        for knowledge, attack in column.attacks.items():
            for source, shown, surrogate in _pairs(knowledge, models, surrogates):
                task = tasks.setdefault((attack, source.logits), _Task(attack, source, []))
                task.victims.append(_Victim(shown, column.name, knowledge, surrogate))
        yield from tasks.values()


def _pairs(
    knowledge: str, models: list[_Subject], surrogates: list[_Subject]
) -> Iterator[tuple[_Subject, _Subject, str | None]]:
    """Yield the model that examples are made on, the one that they are shown to, and the surrogate's name."""
    if knowledge == "none":
        yield from ((models[0], model, None) for model in models)
    elif knowledge == "white":
        yield from ((model, model, None) for model in models)
    else:
        for source in surrogates:
            yield from ((source, model, source.name) for model in models if model.logits is not source.logits)


def _run(task: _Task, data: _Data, right: dict[str, Correct], bar: tqdm[Any]) -> Iterator[Outcome]:
    """Make the examples of a task and yield what they did to each victim."""
    crafted, distances = zip(*_craft(task, data, bar), strict=True)
    adversarial = np.concatenate(crafted)[: len(data.images)]
    median = None
    if isinstance(task.attack, MinimumNormAttack):
        distortions = np.concatenate(distances)[: len(data.images)]
        median = _median(distortions[data.correct(task.source.logits, data.images)])
    for victim in task.victims:
        correct = data.correct(victim.subject.logits, adversarial)
        if victim.knowledge != "none":
            correct = correct & right[victim.subject.name]
        yield Outcome.record(
            correct,
            model=victim.subject.name,
            column=victim.column,
            knowledge=victim.knowledge,
            surrogate=victim.surrogate,
            median_distortion=median if victim.knowledge == "white" else None,
        )


def _craft(task: _Task, data: _Data, bar: tqdm[Any]) -> Iterator[tuple[Images, npt.NDArray[np.float32]]]:
    """Yield the adversarial images of each batch, and their distortions from a minimum-norm attack."""
    attack, logits = task.attack, task.source.logits
    for numbers in data:
        images, labels = data.images[numbers], data.labels[numbers]
        if isinstance(attack, MinimumNormAttack):
            found = attack.search(logits, images, labels, seed=data.seed, indices=numbers)
            yield attack.within_budget(found, images), found.distortions
        else:
            yield attack(logits, images, labels, seed=data.seed, indices=numbers), np.empty(0, np.float32)
        bar.update()


def _median(distortions: npt.NDArray[np.float32]) -> float | None:
    median = float(np.median(distortions)) if distortions.size else np.inf
    return median if np.isfinite(median) else None


def _order(battery: Battery, models: list[_Subject], surrogates: list[_Subject]) -> Any:
    """Return the sort key that puts outcomes in the order of the table."""
    names = [model.name for model in models]
    sources = [None, *(source.name for source in surrogates)]
    return lambda outcome: (
        names.index(outcome.model),
        battery.names.index(outcome.column),
        KNOWLEDGE.index(outcome.knowledge),
        sources.index(outcome.surrogate),
    )
