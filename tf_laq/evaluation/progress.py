"""The progress bar of an evaluation, with the worst case so far of the models under attack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

from tqdm import tqdm
from typing_extensions import Self

from tf_laq.evaluation.report import Correct
from tf_laq.evaluation.results import PartResult
from tf_laq.evaluation.tasks import Task


class Progress:
    """A bar that counts batches and names the attack, its model, and the worst cases so far.

    Args:
        total: Number of batches of all tasks.
        shown: Show it if the output is a terminal.
    """

    def __init__(self, total: int, shown: bool) -> None:
        self._bar = tqdm(total=total, disable=None if shown else True, unit="batch", dynamic_ncols=True)
        # Surviving examples and all examples of the finished parts, and the survivors of this one, per model.
        self._finished: dict[str, tuple[int, int]] = {}
        self._current: dict[str, Correct] = {}

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
        models = [cell.model for _, cell in task.victims]
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

    def finish(self, result: PartResult, batches: int = 0) -> None:
        """Count a finished part, and the batches of one that an earlier run finished."""
        for model in result.excess:
            surviving = result.surviving(model)
            right, count = self._finished.get(model, (0, 0))
            self._finished[model] = right + int(surviving.sum()), count + len(surviving)
        self._current.clear()
        self._bar.update(batches)

    def _worst_cases(self, models: list[str]) -> str:
        shown = []
        for model in dict.fromkeys(models):
            right, count = self._finished.get(model, (0, 0))
            if model in self._current:
                right, count = right + int(self._current[model].sum()), count + len(self._current[model])
            shown += [f"{model} {100 * right / count:.1f} %"] if count else []
        return "worst case " + ", ".join(shown) if shown else ""
