"""The work of an evaluation: every attack on every model once, with all the cells of the table that it fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tf_laq.attacks.apgd import APGD, APGDCrossEntropy, APGDLogitsRatio, APGDTargeted
from tf_laq.attacks.base import Attack, IterativeAttack, Logits, StartableAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery, Column
from tf_laq.attacks.completion import completed_gradient
from tf_laq.evaluation.subjects import Subject, Subjects

# Four in ten of AutoAttack's: a hundred found one or two more in a hundred on networks with masked gradients.
SECOND_STEPS = 40


class Cell(NamedTuple):
    """What an outcome belongs to; the fields are those of `Outcome`."""

    model: str
    column: str
    knowledge: str
    surrogate: str | None
    assisted: bool


class Search(NamedTuple):
    """A second search: its attack, and the callable whose gradient that follows."""

    attack: StartableAttack
    logits: Logits


@dataclasses.dataclass(frozen=True)
class Task:
    """One attack on one model: its examples are made once and shown to all victims.

    Attributes:
        attack: The attack.
        source: The model that the examples are made on.
        victims: The models that they are shown to, each with the cell that the outcome belongs to.
        second: The second search, on what the attack left; None for the attack itself.
    """

    attack: Attack
    source: Subject
    victims: list[tuple[Subject, Cell]]
    second: Search | None = None

    @property
    def white(self) -> bool:
        """Whether it attacks the model that it is shown to."""
        return any(cell.knowledge == "white" for _, cell in self.victims)


def tasks_of(battery: Battery, subjects: Subjects, blind: Collection[str]) -> list[list[Task]]:
    """Return the tasks of each column of a battery, in order.

    White-box attacks that need a gradient are left out for models that have none.

    Args:
        battery: The attacks.
        subjects: The models.
        blind: Names of the models whose second search follows a completed gradient.
    """
    completed: dict[tuple[str, float], Logits] = {}
    return [
        [
            *_first(column, subjects, battery.ensemble),
            *(_second(column, subjects, blind, completed) if battery.second_search else ()),
        ]
        for column in battery.columns
    ]


def cells_of(tasks: list[list[Task]], battery: Battery, subjects: Subjects) -> list[Cell]:
    """Return all cells that the tasks fill, in the order of the table."""
    names = [model.name for model in subjects.models]
    sources = [None, *(source.name for source in subjects.surrogates)]

    def place(cell: Cell) -> tuple[int, ...]:
        return (
            names.index(cell.model),
            battery.names.index(cell.column),
            KNOWLEDGE.index(cell.knowledge),
            sources.index(cell.surrogate),
            cell.assisted,
        )

    return sorted((cell for column in tasks for task in column for _, cell in task.victims), key=place)


def _first(column: Column, subjects: Subjects, ensemble: bool) -> Iterator[Task]:
    found: dict[tuple[Attack, Logits, bool], Task] = {}
    for knowledge, attack in column.attacks.items():
        # White-box examples of an ensemble are none of this attack where an earlier one broke the model.
        apart = ensemble and knowledge == "white"
        for source, shown, surrogate in _pairs(knowledge, attack, subjects):
            task = found.setdefault((attack, source.logits, apart), Task(attack, source, []))
            task.victims.append((shown, Cell(shown.name, column.name, knowledge, surrogate, assisted=False)))
    yield from found.values()


def _second(
    column: Column, subjects: Subjects, blind: Collection[str], completed: dict[tuple[str, float], Logits]
) -> Iterator[Task]:
    """Yield the second searches of a column; `completed` keeps one callable for each model and radius, so one graph."""
    attack = column.attacks.get("white")
    if not isinstance(attack, (IterativeAttack, APGD)):
        return
    for model in subjects.models:
        twin = subjects.float_twins.get(model.name)
        if model.differentiable and (twin or model.name in blind):
            searched = model.logits
            if model.name in blind:
                key = model.name, attack.epsilon
                if key not in completed:
                    completed[key] = completed_gradient(searched, attack.epsilon, twin.logits if twin else None)
                searched = completed[key]
            cell = Cell(model.name, column.name, "white", None, assisted=True)
            yield Task(attack, model, [(model, cell)], Search(_self_adjusting(attack), searched))


def _self_adjusting(attack: IterativeAttack | APGD) -> APGD:
    """Return Auto-PGD in the attack's ball: steps of one length get lost in a completed gradient."""
    if isinstance(attack, APGDTargeted):
        # One target after the other would cost as many times as much, and finds little more.
        return APGDLogitsRatio(epsilon=attack.epsilon, norm=attack.norm, steps=attack.steps)
    if isinstance(attack, APGD):
        return attack
    return APGDCrossEntropy(epsilon=attack.epsilon, norm=attack.norm, steps=SECOND_STEPS)


def _pairs(knowledge: str, attack: Attack, subjects: Subjects) -> Iterator[tuple[Subject, Subject, str | None]]:
    """Yield the model that examples are made on, the one that they are shown to, and the surrogate's name."""
    models = subjects.models
    if knowledge == "none":
        yield from ((models[0], model, None) for model in models)
    elif knowledge == "white":
        yield from ((model, model, None) for model in models if model.differentiable or not attack.needs_gradient)
    else:
        for source in subjects.surrogates:
            yield from ((source, model, source.name) for model in models if model.logits is not source.logits)
