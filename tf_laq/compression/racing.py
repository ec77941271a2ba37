"""Attacking the candidates, each only as far as it can still win."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path

from tf_laq._internal.messages import Announce
from tf_laq.attacks import Battery
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.places import FULL, QUICK, attacked
from tf_laq.compression.result import CLEAN, ORIGINAL, CompressedModel, clean_loss, worst_loss
from tf_laq.compression.rule import Rule, points
from tf_laq.compression.task import Task
from tf_laq.compression.workbench import Workbench
from tf_laq.evaluation import Difference, RobustnessReport, drop, evaluate
from tf_laq.evaluation.outcomes import Correct
from tf_laq.evaluation.runner import Until

# Fewer images say too little to stop anybody.
_LEAST_PART = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """How models are attacked: always in the same way on the same images.

    Attributes:
        task: Has the images and the attacks.
        bench: Has the models, and keeps what the attacks found.
        batch_size: Images in a call.
        seed: Of the attacks.
        executor: Runs the attacks; None to run them here.
        progress: Show progress bars; in files and pipes, a line a minute.
    """

    task: Task
    bench: Workbench
    batch_size: int
    seed: int
    executor: Executor | None
    progress: bool

    def __call__(self, made: CompressedModel, battery: Battery, until: Until | None = None) -> RobustnessReport:
        """Return what a battery leaves of a model."""
        original, test = self.task.classifier, self.task.test
        return evaluate(
            {made.name: dataclasses.replace(original, model=self.bench.model(made))},
            test.images,
            test.labels,
            battery=battery,
            float_twins={} if made.name == ORIGINAL else {made.name: original},
            batch_size=self.batch_size,
            part_size=self._part_size,
            seed=self.seed,
            folder=self.folder(made, battery),
            # The folder of the whole compression is asked about once, at its beginning.
            overwrite=True,
            check_strength=battery is self.task.battery,
            until=until,
            executor=self.executor,
            progress=self.progress,
        )

    def folder(self, made: CompressedModel, battery: Battery) -> Path:
        """Return where an evaluation is kept."""
        kind = FULL if battery is self.task.battery else QUICK
        return self.bench.path / attacked(made.name, kind, len(self.task.test))

    @property
    def _part_size(self) -> int:
        """The number of images after which one looks whether a model can still win."""
        return max(_LEAST_PART, -(-len(self.task.test) // 4))


class Race:
    """The models that were attacked, and what came of them.

    The attacks of the screening count in the worst case, so they bound it from above: a model that loses too much by
    them cannot win. The others are attacked in full. Judge the smallest file first: the first that keeps the rule wins,
    since none of those after it is smaller.

    Args:
        judge: Attacks the models.
        rule: What the winner keeps.
        original: The model before the compression, which is attacked in full at once.
        announce: Receives a line at the start of each attack.

    Attributes:
        models: All models so far by name, the original first.
        winner: The name of the smallest file that keeps the rule so far; None if none does.
    """

    def __init__(self, judge: Judge, rule: Rule, original: CompressedModel, announce: Announce) -> None:
        self._judge, self._rule, self._announce = judge, rule, announce
        self.models: dict[str, CompressedModel] = {}
        self.winner: str | None = None
        self._judged: dict[str, Candidate] = {}
        self._screened: dict[str, RobustnessReport] = {}
        self._attacked: dict[str, RobustnessReport] = {}
        self._screen(original)
        self._attack(original)

    @property
    def screening(self) -> RobustnessReport:
        """What the screening left of all models."""
        return RobustnessReport.joined(list(self._screened.values()))

    @property
    def robustness(self) -> RobustnessReport:
        """What the battery left of those that were attacked in full."""
        return RobustnessReport.joined(list(self._attacked.values()))

    def in_order(self) -> tuple[CompressedModel, ...]:
        """Return the original, then all others, the smallest file first."""
        others = [model for name, model in self.models.items() if name != ORIGINAL]
        return (self.models[ORIGINAL], *sorted(others, key=lambda model: (model.bytes, model.name)))

    def enter(self, made: Iterable[CompressedModel]) -> None:
        """Screen models."""
        for model in made:
            self._screen(model)

    def judge(self, candidate: Candidate, made: CompressedModel) -> None:
        """Attack a model that was screened as far as it can win, or in full if it is there for a comparison."""
        verdict = self._cannot_win(made) or self._same_as_another(candidate, made)
        if verdict is None or candidate.always_attacked:
            verdict = self._attack(made, until=None if candidate.always_attacked else self._loses_beyond_doubt)
        self.models[made.name] = dataclasses.replace(made, verdict=verdict)
        self._judged[made.name] = candidate

    def would_win(self, model: CompressedModel) -> bool:
        """Return whether a model's file would win if it were robust enough."""
        smaller = self.winner is None or model.bytes < self.models[self.winner].bytes
        return smaller and not self._is_too_large(model)

    def take_nearest(self) -> str:
        """Return the name of the most robust of the files that are small enough, or of one that keeps the rule.

        What was only screened looks better than it is. So whoever seems best is attacked in full, until the best one
        has been.
        """
        small = [model for model in self.models.values() if not self._is_too_large(model)]
        while self.winner is None:
            best = max(small, key=lambda model: (self._known_survivors(model.name), -model.bytes))
            if best.name in self._attacked:
                return best.name
            self.models[best.name] = dataclasses.replace(best, verdict=self._attack(best))
        return self.winner

    def _known_survivors(self, name: str) -> int:
        return self._attacked.get(name, self._screened[name]).worst_case(name).successes

    def _screen(self, model: CompressedModel) -> None:
        self.models[model.name] = model
        self._announce(f"{model.name}: {model.average_bits:.2f} bits, {model.bytes:,} bytes; screening")
        self._screened[model.name] = self._judge(model, self._judge.task.quick)

    def _attack(self, model: CompressedModel, until: Until | None = None) -> str:
        """Attack a model in full, or until it has lost, and return the verdict."""
        self._announce(f"{model.name}: attacking {len(self._judge.task.test)} images in full")
        report = self._judge(model, self._judge.task.battery, until)
        if report.count < len(self._judge.task.test):
            return f"loses {self._loss_on(report.surviving(model.name), model.name)} points on {report.count} images"
        self._attacked[model.name] = report.preceded_by(self._screened[model.name])
        if model.name == ORIGINAL:
            return ""
        lost = max(worst_loss(self.robustness, model.name).value, clean_loss(self.screening, model.name).value)
        if lost > self._rule.max_loss:
            return f"loses more than {points(self._rule.max_loss)}"
        if self._is_too_large(model):
            return self._too_large()
        if self.would_win(model):
            self.winner = model.name
        return "keeps the rule"

    def _loses_beyond_doubt(self, surviving: Mapping[str, Correct]) -> bool:
        """Return whether the whole interval of a model's loss so far is beyond the rule."""
        return all(self._loss_on(left, name).lower > self._rule.max_loss for name, left in surviving.items())

    def _loss_on(self, surviving: Correct, name: str) -> Difference:
        """Return the loss of a model on the first images, of which the battery left these."""
        count = len(surviving)
        left = surviving & self._screened[name].surviving(name)[:count]
        return drop(self._attacked[ORIGINAL].surviving(ORIGINAL)[:count], left)

    def _cannot_win(self, model: CompressedModel) -> str | None:
        """Return why a model cannot win, by what is known without attacking it in full; None if it can."""
        if self._is_too_large(model):
            return self._too_large()
        clean = clean_loss(self.screening, model.name)
        if clean.value > self._rule.max_loss:
            return f"loses {clean} points without an attack"
        before, after = self._attacked[ORIGINAL], self._screened[model.name]
        least = drop(before.surviving(ORIGINAL), after.surviving(model.name)).value
        if least > self._rule.max_loss:
            quick = ", ".join(name for name in self._judge.task.quick.names if name != CLEAN)
            return f"loses at least {least:.1f} points, by {quick} alone"
        if not self.would_win(model):
            return f"not smaller than {self.winner}, which keeps the rule"
        return None

    def _same_as_another(self, candidate: Candidate, model: CompressedModel) -> str | None:
        """Return which model with a verdict has the same bits and was made alike; None if none has."""
        for name, other in self._judged.items():
            alike = (other.tuning, other.matched) == (candidate.tuning, candidate.matched)
            if alike and self.models[name].settings == model.settings:
                return f"the same bits as {name}"
        return None

    def _is_too_large(self, model: CompressedModel) -> bool:
        return self._rule.max_bytes is not None and model.bytes > self._rule.max_bytes

    def _too_large(self) -> str:
        return f"larger than {self._rule.max_bytes:,} bytes"
