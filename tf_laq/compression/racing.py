"""Attacking the candidates, each only as far as it can still win."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tf_laq._internal.messages import Announce
from tf_laq.attacks import Battery
from tf_laq.compression.candidates import Candidate
from tf_laq.compression.result import CLEAN, ORIGINAL, CompressedModel, Rule, clean_loss, points, worst_loss
from tf_laq.compression.workbench import Workbench
from tf_laq.datasets import Split
from tf_laq.evaluation import Classifier, RobustnessReport, drop, evaluate

# A quarter of fewer images says too little to stop anybody.
_LEAST_PART = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """How models are attacked: always the same images, battery and seed.

    Attributes:
        images: The test images with their labels.
        battery: The attacks of the worst case.
        quick: The attacks of the screening, a part of the battery or cheaper than it.
        classifier: How the original is to be called; the candidates are called in the same way.
        batch_size: Images in a call.
        seed: Of the attacks.
        progress: Show progress bars on a terminal.
    """

    images: Split
    battery: Battery
    quick: Battery
    classifier: Classifier
    batch_size: int
    seed: int
    progress: bool

    def __call__(self, bench: Workbench, made: CompressedModel, battery: Battery, count: int) -> RobustnessReport:
        """Return what a battery leaves of a model on the first images."""
        models = {made.name: dataclasses.replace(self.classifier, model=bench.model(made))}
        return evaluate(
            models,
            self.images.images[:count],
            self.images.labels[:count],
            battery=battery,
            float_twins={} if made.name == ORIGINAL else {made.name: self.classifier},
            batch_size=self.batch_size,
            seed=self.seed,
            folder=self.folder(bench, made.name, battery, count),
            check_strength=battery is self.battery and count == len(self.images),
            progress=self.progress,
        )

    def folder(self, bench: Workbench, name: str, battery: Battery, count: int) -> Path:
        """Return where the evaluation of a model is kept."""
        return bench.attacks(f"{name}-{'full' if battery is self.battery else 'quick'}-{count}")


class Race:
    """The models that were attacked, and what came of them.

    Screening bounds the worst case from above, so who loses too much by it cannot win. The others are attacked in full
    from the smallest file on; the first that keeps the rule wins, since those after it are larger.

    Args:
        bench: Makes the models.
        judge: Attacks them.
        rule: What the winner keeps.
        original: The model before the compression, which is attacked in full at once.
        announce: Receives a line at the start of each attack.

    Attributes:
        models: All models so far, the original first.
        winner: The name of the smallest file that keeps the rule so far; None if none does.
    """

    def __init__(
        self, bench: Workbench, judge: Judge, rule: Rule, original: CompressedModel, announce: Announce
    ) -> None:
        self._bench, self._judge, self._rule, self._announce = bench, judge, rule, announce
        self.models: dict[str, CompressedModel] = {}
        self.winner: str | None = None
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

    def run(self, made: Sequence[tuple[Candidate, CompressedModel]]) -> None:
        """Screen models, and attack those in full that can win, or that are there for a comparison."""
        ordered = sorted(made, key=lambda pair: (pair[1].bytes, pair[0].name))
        for _, model in ordered:
            self._screen(model)
        for candidate, model in ordered:
            verdict = self._cannot_win(model) or self._stopped_early(model)
            if verdict is None or candidate.always_attacked:
                self._attack(model)
                verdict = self._judged(model)
            self.models[model.name] = dataclasses.replace(model, verdict=verdict)

    def take_nearest(self) -> str:
        """Attack in full what comes nearest to the rule of all files that are small enough, and return its name."""
        limit = self._rule.max_bytes
        small = [model for model in self.models.values() if limit is None or model.bytes <= limit]
        best = max(small, key=lambda model: (self._upper(model.name), -model.bytes))
        if best.name not in self._attacked:
            self._attack(best)
            self.models[best.name] = dataclasses.replace(best, verdict=self._judged(best))
        return best.name

    def _screen(self, model: CompressedModel) -> None:
        self.models[model.name] = model
        self._announce(f"{model.name}: {model.average_bits:.2f} bits, {model.bytes:,} bytes; screening")
        self._screened[model.name] = self._judge(self._bench, model, self._judge.quick, len(self._judge.images))

    def _attack(self, model: CompressedModel) -> None:
        self._announce(f"{model.name}: attacking {len(self._judge.images)} images in full")
        self._attacked[model.name] = self._judge(self._bench, model, self._judge.battery, len(self._judge.images))

    def _upper(self, name: str) -> int:
        report = self._attacked.get(name, self._screened[name])
        return report.worst_case(name).successes

    def _cannot_win(self, model: CompressedModel) -> str | None:
        """Return why a model cannot win without being attacked in full; None if it can."""
        most, limit = self._rule.max_loss, self._rule.max_bytes
        if limit is not None and model.bytes > limit:
            return f"larger than {limit:,} bytes"
        clean = clean_loss(self.screening, model.name)
        if clean.value > most:
            return f"loses {clean} points without an attack"
        least = drop(self._attacked[ORIGINAL].surviving(ORIGINAL), self._screened[model.name].surviving(model.name))
        if least.value > most:
            return f"loses at least {least.value:.1f} points: {self._quick_attacks()} alone shows it"
        if self.winner is not None and model.bytes >= self.models[self.winner].bytes:
            return f"not smaller than {self.winner}, which keeps the rule"
        return None

    def _stopped_early(self, model: CompressedModel) -> str | None:
        """Return by how much a model loses on a quarter of the images, if that is too much beyond doubt."""
        count = len(self._judge.images) // 4
        if count < _LEAST_PART:
            return None
        self._announce(f"{model.name}: attacking the first {count} images in full")
        report = self._judge(self._bench, model, self._judge.battery, count)
        before = self._attacked[ORIGINAL].surviving(ORIGINAL)[:count]
        lost = drop(before, report.surviving(model.name))
        if lost.lower > self._rule.max_loss:
            return f"stopped after {count} images: loses {lost} points"
        return None

    def _judged(self, model: CompressedModel) -> str:
        lost, clean = worst_loss(self.robustness, model.name), clean_loss(self.screening, model.name)
        most, limit = self._rule.max_loss, self._rule.max_bytes
        if max(lost.value, clean.value) > most:
            return f"loses more than {points(most)}"
        if limit is not None and model.bytes > limit:
            return f"larger than {limit:,} bytes"
        if self.winner is None or model.bytes < self.models[self.winner].bytes:
            self.winner = model.name
        return "keeps the rule"

    def _quick_attacks(self) -> str:
        return ", ".join(name for name in self._judge.quick.names if name != CLEAN)
