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
from tf_laq.attacks.base import Attack, BallAttack, Images, Logits, MinimumNormAttack, StartableAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery, Column
from tf_laq.attacks.checks import check_logits, checked_images, checked_labels, one_of, whole
from tf_laq.attacks.clean import Clean
from tf_laq.attacks.completed_gradient import completed_gradient
from tf_laq.errors import InputError
from tf_laq.evaluation.checks import MANY_ZEROS, excess_of, model_checks, report_checks, zero_gradients
from tf_laq.evaluation.examples import Examples
from tf_laq.evaluation.report import Correct, Outcome, RobustnessReport

# Above this share of exact zeros in its input gradients, a quantized model is attacked with a gradient without them.
# Other models need `MANY_ZEROS`: black borders and units that are off make half of the entries zero and hide nothing.
FEW_ZEROS = 0.01


def evaluate(
    models: Mapping[str, Any],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    battery: Battery,
    surrogates: Mapping[str, Any] | None = None,
    float_twins: Mapping[str, Any] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> RobustnessReport:
    """Measure the accuracy of models under every attack of a battery.

    White-box examples are made on each model. Gray-box examples are made once on each surrogate and shown to
    all models; a surrogate that is one of the models is no surrogate for itself. An example that a model
    misclassifies without an attack counts as broken in its gray-box and white-box columns too.

    Where a model may hide its gradients, white-box PGD and Auto-PGD search a second time, on what they left standing:
    from other models' examples and, where entries of the model's input gradients are exactly zero, with a gradient
    completed there. Their white-box cells count both searches. This is done for models with a float twin, and for
    others if more than 70 % of those entries are zero.

    The white-box attacks of an ensemble (`Battery.ensemble`) leave out what an earlier one broke.

    Args:
        models: Name to Keras model, or to a callable from float32 images to logits.
        images: Floating-point images (n, height, width, channels) in [0, 1].
        labels: True class numbers, shape (n,).
        battery: The attacks; a clean column is put first if there is none.
        surrogates: The same form as `models`; without any, gray-box cells stay empty.
        float_twins: Name of an evaluated model to the full-precision model it was quantized from.
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
    data = Examples(images, labels, np.arange(len(images)), -(-len(images) // batches), seed)
    known: dict[int, Logits] = {}
    evaluated = _subjects("models", models, data, known)
    sources = _subjects("surrogates", surrogates or {}, data, known)
    twins = {twin.name: twin for twin in _subjects("float_twins", float_twins or {}, data, known)}
    for name in twins:
        one_of("float_twins", name, [model.name for model in evaluated])
    gradients = {model.name: zero_gradients(model.logits, data) for model in evaluated}
    few = {name: FEW_ZEROS if name in twins else MANY_ZEROS for name in gradients}
    blind = {name for name, zeros in gradients.items() if zeros.entries > few[name]}
    again = [model for model in evaluated if model.name in twins or model.name in blind]
    tasks = [list(_tasks(column, evaluated, sources, again)) for column in battery.columns]
    outcomes: list[Outcome] = []
    with (
        _without_retracing_advice(),
        tqdm(total=sum(map(len, tasks)) * data.batches, disable=None if progress else True, unit="batch") as bar,
    ):
        runner = _Runner(data, battery.ensemble, twins, blind, bar)
        for column in tasks:
            runner.made.clear()
            for task in column:
                outcomes += runner.run(task)
    report = RobustnessReport(
        models=tuple(subject.name for subject in evaluated),
        surrogates=tuple(source.name for source in sources),
        battery=battery,
        count=len(images),
        seed=int(seed),
        outcomes=tuple(sorted(outcomes, key=_order(battery, evaluated, sources))),
    )
    found = [
        check
        for model in evaluated
        for check in (
            *model_checks(model.name, model.logits, data, gradients[model.name], runner.excess[model.name]),
            *report_checks(report, model.name),
        )
    ]
    return dataclasses.replace(report, checks=tuple(found))


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
    assisted: bool = False

    @property
    def white(self) -> bool:
        return any(victim.knowledge == "white" for victim in self.victims)


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


def _subjects(argument: str, models: Mapping[str, Any], data: Examples, known: dict[int, Logits]) -> list[_Subject]:
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


def _tasks(
    column: Column, models: list[_Subject], surrogates: list[_Subject], again: list[_Subject]
) -> Iterator[_Task]:
    """Yield every attack on every model once, with all the cells that its examples fill."""
    tasks: dict[tuple[Attack, Logits], _Task] = {}
    for knowledge, attack in column.attacks.items():
        for source, shown, surrogate in _pairs(knowledge, models, surrogates):
            task = tasks.setdefault((attack, source.logits), _Task(attack, source, []))
            task.victims.append(_Victim(shown, column.name, knowledge, surrogate))
    yield from tasks.values()
    white = column.attacks.get("white")
    if isinstance(white, StartableAttack):
        for model in again:
            yield _Task(white, model, [_Victim(model, column.name, "white", None)], assisted=True)


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


class _Runner:
    """Runs tasks in order; it remembers what the later ones start from."""

    def __init__(
        self, data: Examples, ensemble: bool, float_twins: Mapping[str, _Subject], blind: set[str], bar: tqdm[Any]
    ) -> None:
        self.data, self.ensemble, self.float_twins, self.bar = data, ensemble, float_twins, bar
        self.blind = blind
        self.right: dict[Logits, Correct] = {}
        # The examples of an attack on a model, and in an ensemble the latest ones of a model.
        self.made: dict[tuple[Attack, Logits], Images] = {}
        self.hardest: dict[Logits, Images] = {}
        self.excess: dict[str, float] = {}

    def run(self, task: _Task) -> Iterator[Outcome]:
        """Make the examples of a task and yield what they did to each victim."""
        self.bar.set_description(f"{task.source.name}: {task.attack.name}")
        before = self.bar.n
        if task.assisted and isinstance(task.attack, StartableAttack):
            crafted, median = self._assisted(task.attack, task.source), None
        else:
            crafted, median = self._plain(task)
        self.bar.update(before + self.data.batches - self.bar.n)
        excess = excess_of(task.attack, crafted, self.data.images)
        for victim in task.victims:
            name = victim.subject.name
            self.excess[name] = max(self.excess.get(name, 0.0), excess)
            correct = self.data.correct(victim.subject.logits, crafted)
            yield Outcome.record(
                correct if victim.knowledge == "none" else correct & self._right(victim.subject.logits),
                model=name,
                column=victim.column,
                knowledge=victim.knowledge,
                surrogate=victim.surrogate,
                median_distortion=median if victim.knowledge == "white" else None,
                assisted=task.assisted,
            )

    def _plain(self, task: _Task) -> tuple[Images, float | None]:
        """Return the examples of the attack as it is, and the median distortion of a minimum-norm attack."""
        logits, median = task.source.logits, None
        if self.ensemble and task.white:
            crafted = self.hardest.get(logits, self.data.images).copy()
            standing = self.data.correct(logits, crafted) & self._right(logits)
            crafted[standing] = self._craft(task.attack, logits, self.data.only(standing))[0]
            self.hardest[logits] = crafted
        else:
            crafted, distortions = self._craft(task.attack, logits, self.data)
            if isinstance(task.attack, MinimumNormAttack):
                median = _median(distortions[self._right(logits)])
        self.made[task.attack, logits] = crafted
        return crafted, median

    def _assisted(self, attack: StartableAttack, source: _Subject) -> Images:
        """Return the examples of a second search, on what the first one left: it starts from other models' examples."""
        logits, twin = source.logits, self.float_twins.get(source.name)
        crafted = self.made[attack, logits].copy()
        standing = self.data.correct(logits, crafted) & self._right(logits)
        left = self.data.only(standing)
        if source.name in self.blind:
            attacked = completed_gradient(logits, attack.epsilon, twin.logits if twin else None)
        else:
            attacked = logits
        starts = self._starts(attack, logits)
        for rows in left:
            arguments = attacked, left.images[rows], left.labels[rows]
            numbers = left.numbers[rows]
            if starts is None:
                found = attack(*arguments, seed=self.data.seed, indices=numbers)
            else:
                found = attack.from_starts(*arguments, starts[numbers])
            crafted[numbers] = found
            self.bar.update()
        if self.ensemble:
            self.hardest[logits] = crafted
        return crafted

    def _starts(self, attack: StartableAttack, logits: Logits) -> Images | None:
        """Return, per example, the one made on another model that this model is least right about."""
        others = [
            images
            for (known, source), images in self.made.items()
            if source is not logits and isinstance(known, BallAttack) and known.norm == attack.norm
        ]
        if not others:
            return None
        scores = np.stack([self.data.margins(logits, images) for images in others])
        return np.asarray(np.stack(others)[scores.argmin(axis=0), np.arange(len(self.data.images))])

    def _craft(self, attack: Attack, logits: Logits, examples: Examples) -> tuple[Images, npt.NDArray[np.float32]]:
        """Return adversarial images, and their distortions from a minimum-norm attack."""
        crafted, distortions = np.empty_like(examples.images), np.empty(len(examples.images), np.float32)
        for rows in examples:
            images, labels, numbers = examples.images[rows], examples.labels[rows], examples.numbers[rows]
            if isinstance(attack, MinimumNormAttack):
                found = attack.search(logits, images, labels, seed=examples.seed, indices=numbers)
                crafted[rows], distortions[rows] = attack.within_budget(found, images), found.distortions
            else:
                crafted[rows] = attack(logits, images, labels, seed=examples.seed, indices=numbers)
            self.bar.update()
        return crafted, distortions

    def _right(self, logits: Logits) -> Correct:
        """Return where a model is right without an attack."""
        if logits not in self.right:
            self.right[logits] = self.data.correct(logits, self.data.images)
        return self.right[logits]


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
        outcome.assisted,
    )
