"""The work of an evaluation: every attack on every model once, with all the cells of the table that it fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from tf_laq.attacks.base import Attack, Logits, StartableAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery, Column
from tf_laq.attacks.second_search import completed_gradient, second_search
from tf_laq.evaluation.models import FEW_ZEROS, MANY_ZEROS, EvaluatedModel, EvaluatedModels
from tf_laq.evaluation.outcomes import Cell


class Search(NamedTuple):
    """A second search: its attack, and the callable whose gradient that follows."""

    attack: StartableAttack
    logits: Logits


@dataclasses.dataclass(frozen=True)
class Task:
    """One attack on one model: its examples are made once and shown to several models.

    Attributes:
        attack: The attack.
        source: The model that the examples are made on.
        shown_to: These models, each with the cell that the outcome belongs to.
        second_search: The second search, on what the attack left; None for the attack itself.
    """

    attack: Attack
    source: EvaluatedModel
    shown_to: list[tuple[EvaluatedModel, Cell]]
    second_search: Search | None = None

    @property
    def white(self) -> bool:
        """Whether it attacks the model that it is shown to."""
        return any(cell.knowledge == "white" for _, cell in self.shown_to)


def tasks_of(battery: Battery, models: EvaluatedModels) -> list[list[Task]]:
    """Return the tasks of each column of a battery, in order.

    White-box attacks that need a gradient are left out for models that have none, and attacks that need more classes
    than the model has that they are made on. Models with a float twin, and those
    whose gradient is zero in many entries, have a second search.
    """
    completed: dict[tuple[str, float], Logits] = {}
    return [
        [
            *_first(column, models, battery.ensemble),
            *(_second(column, models, completed) if battery.second_search else ()),
        ]
        for column in battery.columns
    ]


def cells_of(tasks: list[list[Task]], battery: Battery, models: EvaluatedModels) -> list[Cell]:
    """Return all cells that the tasks fill, in the order of the table."""
    names = [model.name for model in models.models]
    sources = [None, *(source.name for source in models.surrogates)]

    def place(cell: Cell) -> tuple[int, ...]:
        return (
            names.index(cell.model),
            battery.names.index(cell.column),
            KNOWLEDGE.index(cell.knowledge),
            sources.index(cell.surrogate),
            cell.second_search,
        )

    return sorted((cell for column in tasks for task in column for _, cell in task.shown_to), key=place)


def _first(column: Column, models: EvaluatedModels, ensemble: bool) -> Iterator[Task]:
    found: dict[tuple[Attack, Logits, bool], Task] = {}
    for knowledge, attack in column.attacks.items():
        # White-box examples of an ensemble are none of this attack where an earlier one broke the model.
        apart = ensemble and knowledge == "white"
        for source, shown, surrogate in _pairs(knowledge, attack, models):
            if source.classes < attack.fewest_classes:
                continue
            task = found.setdefault((attack, source.logits, apart), Task(attack, source, []))
            task.shown_to.append((shown, Cell(shown.name, column.name, knowledge, surrogate, second_search=False)))
    yield from found.values()


def _pairs(
    knowledge: str, attack: Attack, models: EvaluatedModels
) -> Iterator[tuple[EvaluatedModel, EvaluatedModel, str | None]]:
    """Yield the model that examples are made on, the one that they are shown to, and the surrogate's name."""
    if knowledge == "none":
        yield from ((models.models[0], model, None) for model in models.models)
    elif knowledge == "white":
        yield from ((m, m, None) for m in models.models if m.gradients is not None or not attack.needs_gradient)
    else:
        for source in models.surrogates:
            yield from ((source, m, source.name) for m in models.models if m.logits is not source.logits)


def _second(column: Column, models: EvaluatedModels, completed: dict[tuple[str, float], Logits]) -> Iterator[Task]:
    """Yield the second searches of a column; `completed` keeps one callable for each model and radius, so one graph."""
    attack = column.attacks.get("white")
    search = second_search(attack)
    if attack is None or search is None:
        return
    for model in models.models:
        twin = models.float_twins.get(model.name)
        if model.classes < max(attack.fewest_classes, search.fewest_classes) or model.gradients is None:
            continue
        if not (twin or model.gradients.entries > MANY_ZEROS):
            continue
        searched = model.logits
        if model.gradients.entries > FEW_ZEROS:
            key = model.name, search.epsilon
            if key not in completed:
                completed[key] = completed_gradient(searched, search.epsilon, twin.logits if twin else None)
            searched = completed[key]
        cell = Cell(model.name, column.name, "white", None, second_search=True)
        yield Task(attack, model, [(model, cell)], Search(search, searched))
