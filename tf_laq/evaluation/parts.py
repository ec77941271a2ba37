"""One part of an evaluation: the whole battery on a few examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_laq.attacks.base import Attack, BallAttack, Images, Logits, MinimumNormAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery
from tf_laq.evaluation.checks import excess_of
from tf_laq.evaluation.examples import Answers, Examples, Rows
from tf_laq.evaluation.progress import Progress
from tf_laq.evaluation.report import Correct
from tf_laq.evaluation.results import Distortions, PartResult
from tf_laq.evaluation.tasks import Cell, Search, Task
from tf_laq.evaluation.worst import WorstExamples


def run_part(
    data: Examples, tasks: list[list[Task]], battery: Battery, progress: Progress, *, keep_worst: bool
) -> tuple[PartResult, Mapping[str, Mapping[str, npt.NDArray[Any]]]]:
    """Run all tasks on a part of the examples.

    Args:
        data: The part.
        tasks: The tasks of each column.
        battery: The battery that they come from.
        progress: The bar to move.
        keep_worst: Whether the worst examples are wanted.

    Returns:
        The outcomes, and per model the arrays of its worst examples: none unless they are wanted.
    """
    part = _Part(data, battery, progress, keep_worst)
    for column in tasks:
        part.made.clear()
        for task in column:
            part.run(task)
    return PartResult(part.correct, part.distortions, part.excess), {m: w.arrays for m, w in part.worst.items()}


class _Crafted(NamedTuple):
    """Adversarial images, the rows that were made just now, and all distortions of a minimum-norm attack."""

    images: Images
    rows: Rows
    distortions: Distortions | None = None


class _Part:
    """Runs tasks in order; it remembers what the later ones start from."""

    def __init__(self, data: Examples, battery: Battery, progress: Progress, keep_worst: bool) -> None:
        self.data, self.battery, self.progress, self.keep_worst = data, battery, progress, keep_worst
        self.correct: dict[Cell, Correct] = {}
        self.distortions: dict[Cell, Distortions] = {}
        self.excess: dict[str, float] = {}
        self.worst: dict[str, WorstExamples] = {}
        # The examples of an attack on a model, and in an ensemble the latest ones of a model.
        self.made: dict[tuple[Attack, Logits], Images] = {}
        self.hardest: dict[Logits, Images] = {}
        self._clean: dict[Logits, Answers] = {}

    def run(self, task: Task) -> None:
        """Make the examples of a task and record what they did to each victim."""
        with self.progress.of(task, self.data.batches):
            crafted = self._first(task) if task.second is None else self._second(task, task.second)
            now = crafted.images[crafted.rows]
            excess = excess_of(task.attack, now, self.data.images[crafted.rows])
            for victim, cell in task.victims:
                answers = self.data.answers(victim.logits, crafted.images)
                correct: Correct = answers.predicted == self.data.labels
                if cell.knowledge != "none":
                    correct &= self._right(victim.logits)
                if crafted.distortions is not None and cell.knowledge == "white":
                    self.distortions[cell] = crafted.distortions[self._right(victim.logits)]
                self.correct[cell] = correct
                self.excess[cell.model] = max(self.excess.get(cell.model, 0.0), excess)
                if self.keep_worst:
                    self._worst_of(cell.model, victim.logits).show(cell, crafted.images, answers, crafted.rows)
                self.progress.record(cell.model, correct)

    def _first(self, task: Task) -> _Crafted:
        """Return the examples of the attack as it is; in an ensemble, on what the earlier ones left."""
        logits, attack, distortions = task.source.logits, task.attack, None
        if self.battery.ensemble and task.white:
            images = self.hardest.get(logits, self.data.images).copy()
            rows = np.flatnonzero(self.data.correct(logits, images) & self._right(logits))
            images[rows] = self._craft(attack, logits, self.data.only(rows))[0]
            self.hardest[logits] = images
        else:
            rows = np.arange(len(self.data.images))
            images, distortions = self._craft(attack, logits, self.data)
        self.made[attack, logits] = images
        return _Crafted(images, rows, distortions)

    def _second(self, task: Task, search: Search) -> _Crafted:
        """Return the examples of a second search, on what the first one left: it starts from other models' examples."""
        logits = task.source.logits
        images = (self.hardest[logits] if self.battery.ensemble else self.made[task.attack, logits]).copy()
        rows = np.flatnonzero(self.data.correct(logits, images) & self._right(logits))
        left, starts = self.data.only(rows), self._starts(search.attack.norm, logits)
        for batch in left:
            arguments = search.logits, left.images[batch], left.labels[batch]
            if starts is None:
                found = search.attack(*arguments, seed=left.seed, indices=left.numbers[batch])
            else:
                found = search.attack.from_starts(*arguments, starts[rows[batch]])
            images[rows[batch]] = found
            self.progress.step()
        if self.battery.ensemble:
            self.hardest[logits] = images
        return _Crafted(images, rows)

    def _starts(self, norm: str, logits: Logits) -> Images | None:
        """Return, per example, the one made on another model that this model is least right about."""
        others = [
            images
            for (known, source), images in self.made.items()
            if source is not logits and isinstance(known, BallAttack) and known.norm == norm
        ]
        if not others:
            return None
        scores = np.stack([self.data.answers(logits, images).margins for images in others])
        return np.asarray(np.stack(others)[scores.argmin(axis=0), np.arange(len(self.data.images))])

    def _craft(self, attack: Attack, logits: Logits, examples: Examples) -> tuple[Images, Distortions | None]:
        """Return adversarial images, and their distortions from a minimum-norm attack."""
        crafted, distortions = np.empty_like(examples.images), None
        if isinstance(attack, MinimumNormAttack):
            distortions = np.empty(len(examples.images), np.float32)
        for rows in examples:
            images, labels, numbers = examples.images[rows], examples.labels[rows], examples.numbers[rows]
            if isinstance(attack, MinimumNormAttack) and distortions is not None:
                found = attack.search(logits, images, labels, seed=examples.seed, indices=numbers)
                crafted[rows], distortions[rows] = attack.within_budget(found, images), found.distortions
            else:
                crafted[rows] = attack(logits, images, labels, seed=examples.seed, indices=numbers)
            self.progress.step()
        return crafted, distortions

    def _right(self, logits: Logits) -> Correct:
        """Return where a model is right without an attack."""
        return np.asarray(self._clean_answers(logits).predicted == self.data.labels)

    def _clean_answers(self, logits: Logits) -> Answers:
        if logits not in self._clean:
            self._clean[logits] = self.data.answers(logits, self.data.images)
        return self._clean[logits]

    def _worst_of(self, model: str, logits: Logits) -> WorstExamples:
        if model not in self.worst:
            names = [*self.battery.names, *KNOWLEDGE]
            self.worst[model] = WorstExamples(self.data, self._clean_answers(logits), names)
        return self.worst[model]
