"""One part of an evaluation: the whole battery on a few examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

import numpy as np
from typing_extensions import Self

from tf_laq._internal.archives import Array
from tf_laq._internal.progress import progress_bar
from tf_laq.attacks.base import Attack, BallAttack, Images, Logits, MinimumNormAttack
from tf_laq.attacks.battery import KNOWLEDGE, Battery
from tf_laq.evaluation.examples import Answers, Examples, Rows
from tf_laq.evaluation.outcomes import Cell, Correct, Distortions, PartResult, excess_of
from tf_laq.evaluation.tasks import Search, Task


def run_part(
    data: Examples, tasks: list[list[Task]], battery: Battery, progress: Progress, *, keep_worst: bool
) -> tuple[PartResult, Mapping[str, Mapping[str, Array]]]:
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
        """Make the examples of a task and record what they did to each model."""
        with self.progress.of(task, self.data.batches):
            crafted = self._first(task) if task.second_search is None else self._second(task, task.second_search)
            now = crafted.images[crafted.rows]
            excess = excess_of(task.attack, now, self.data.images[crafted.rows])
            for model, cell in task.shown_to:
                answers = self.data.answers(model.logits, crafted.images)
                correct: Correct = answers.predicted == self.data.labels
                if cell.knowledge != "none":
                    correct &= self._right(model.logits)
                if crafted.distortions is not None and cell.knowledge == "white":
                    self.distortions[cell] = crafted.distortions[self._right(model.logits)]
                self.correct[cell] = correct
                self.excess[cell.model] = max(self.excess.get(cell.model, 0.0), excess)
                if self.keep_worst:
                    self._worst_of(cell.model, model.logits).show(cell, crafted.images, answers, crafted.rows)
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


class WorstExamples:
    """Collects the examples that a model is shown and keeps, per image, the one with the lowest margin.

    The arrays are the fields of `AdversarialExamples` that an attack decides.

    Args:
        data: The clean images.
        clean: What the model says about them.
        names: Lengths of the texts: the names of all columns and kinds of knowledge.
    """

    def __init__(self, data: Examples, clean: Answers, names: list[str]) -> None:
        text = f"<U{max(map(len, names))}"
        count = len(data.images)
        self.arrays: dict[str, Array] = {
            "images": data.images.copy(),
            "margins": np.full(count, np.inf, np.float32),
            "predicted": clean.predicted.astype(np.int64),
            "clean_predicted": clean.predicted.astype(np.int64),
            "columns": np.full(count, "", text),
            "knowledge": np.full(count, "", text),
        }

    def show(self, cell: Cell, images: Images, answers: Answers, rows: Rows) -> None:
        """Keep those of the examples at these rows that are worse than all before."""
        rows = rows[answers.margins[rows] < self.arrays["margins"][rows]]
        self.arrays["images"][rows] = images[rows]
        self.arrays["margins"][rows] = answers.margins[rows]
        self.arrays["predicted"][rows] = answers.predicted[rows]
        self.arrays["columns"][rows] = cell.column
        self.arrays["knowledge"][rows] = cell.knowledge


class Progress:
    """A bar that counts batches and names the attack, its model, and the worst cases so far.

    Args:
        total: Number of batches of all tasks.
        shown: Show it.
    """

    def __init__(self, total: int, shown: bool) -> None:
        self._bar = progress_bar(shown=shown, total=total, unit="batch")
        # Surviving examples and all examples of the finished parts, and the survivors of this one, per model.
        self._finished: dict[str, tuple[int, int]] = {}
        self._current: dict[str, Correct] = {}
        self._batches = 0  # Of the finished parts.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def of(self, task: Task, batches: int) -> Iterator[None]:
        """Name a task, and count all of its batches at the end: an attack on what is left has fewer."""
        self._bar.set_description(f"{task.source.name}: {task.attack.name}", refresh=False)
        models = [cell.model for _, cell in task.shown_to]
        self._bar.set_postfix_str(self._worst_cases(models))
        before = self._bar.n
        yield
        self._bar.set_postfix_str(self._worst_cases(models), refresh=False)
        self._bar.update(before + batches - self._bar.n)

    def step(self) -> None:
        """Count a batch."""
        self._bar.update()

    def record(self, model: str, correct: Correct) -> None:
        """Count what an attack broke."""
        self._current[model] = correct & self._current.get(model, correct)

    def finish(self, result: PartResult, batches: int) -> None:
        """Count a finished part, and those of its batches that were not counted here."""
        for model in result.excess:
            surviving = result.surviving(model)
            right, count = self._finished.get(model, (0, 0))
            self._finished[model] = right + int(surviving.sum()), count + len(surviving)
        self._current.clear()
        self._batches += batches
        self._bar.set_postfix_str(self._worst_cases(list(result.excess)), refresh=False)
        self._bar.update(self._batches - self._bar.n)

    def _worst_cases(self, models: list[str]) -> str:
        shown = []
        for model in dict.fromkeys(models):
            right, count = self._finished.get(model, (0, 0))
            if model in self._current:
                right, count = right + int(self._current[model].sum()), count + len(self._current[model])
            shown += [f"{model} {100 * right / count:.1f} %"] if count else []
        return "worst case " + ", ".join(shown) if shown else ""
