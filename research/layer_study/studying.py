"""The losses of every setting, each kept on the disk, beside the predictors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from research.layer_study.attacking import STAGES, WORST_CASE, SmallBattery
from research.layer_study.canvas import Canvas
from research.layer_study.predictors import ImagePredictors, WeightPredictors
from research.layer_study.settings import Settings
from tf_laq._internal import archives
from tf_laq._internal.documents import Document
from tf_laq.adapters import adapter_of
from tf_laq.attacks.base import Images
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.evaluation import Outcome, Share
from tf_laq.evaluation.examples import Examples, Rows
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor
from tf_laq.version import __version__

_BATCH = 100
# A network that withstands fewer than one image in so many is not what this is about.
_LOOKED_THROUGH = 20
_FLOAT = "float32"


@dataclasses.dataclass(frozen=True)
class Loss(Document):
    """What the battery left of the images that the float network withstands.

    Attributes:
        outcomes: One for each stage, with the setting as model: where the network is right after it.
        zeros: Share of exact zeros in the input gradients.
        seconds: Processor time.
    """

    document: ClassVar[str] = "tf_laq loss from one layer"
    version: ClassVar[int] = 2

    outcomes: tuple[Outcome, ...]
    zeros: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the outcomes as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Loss:
        """Build the loss from what `to_dict` returned."""
        outcomes = tuple(Outcome(**outcome) for outcome in content["outcomes"])
        return cls(outcomes, content["zeros"], content["seconds"])

    def lost(self, stage: str = WORST_CASE) -> Share:
        """Return the share of the images that were lost up to a stage."""
        right = next(outcome.correct for outcome in self.outcomes if outcome.column == stage)
        return Share(int((~right).sum()), len(right))


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """One setting of one weight tensor.

    Attributes:
        place: Place of the tensor in the model's order.
        tensor: The tensor.
        quantizer: What it is quantized by, alone.
        loss: What that costs.
        predictors: Name -> value.
    """

    place: int
    tensor: WeightTensor
    quantizer: Quantizer
    loss: Loss
    predictors: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The first images that the float network withstands, Auto-PGD's examples of them, and what finding them took."""

    rows: Rows
    examples: Images
    looked_at: int
    seconds: float


class LayerStudy:
    """The losses from quantizing one layer at a time, and what may predict them.

    Every loss is kept as a file, under a name that tells all it depends on, so a run that was killed goes on. Of the
    `Point`s, only the processor time differs from one run to another.

    Args:
        model: A built Keras model, which stays as it is.
        data: Its data set: test images are attacked, training images calibrate.
        settings: What is quantized, and how hard it is attacked.
        cache: Folder of the kept losses.
        progress: Show a progress bar on a terminal.
    """

    def __init__(self, model: Any, data: Dataset, settings: Settings, *, cache: Path, progress: bool = True) -> None:
        self.data, self.settings, self._progress = data, settings, progress
        self._float, self._canvas = adapter_of(model).logits(model), Canvas(model)
        self.sha256 = archives.sha256(model.get_weights())
        content = {
            "release": __version__,
            "network": self.sha256,
            "images": archives.sha256([data.test.images, data.test.labels]),
            **settings.attack_facts(),
        }
        self._folder = cache / f"layers-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"
        self._kept = self._keep()
        self._battery = SmallBattery(self._canvas.logits, self._float, settings)

    @property
    def looked_at(self) -> int:
        """Number of test images among which those were found that the float network withstands."""
        return self._kept.looked_at

    @property
    def count(self) -> int:
        """Number of images that are attacked."""
        return len(self._kept.rows)

    @property
    def tensors(self) -> list[WeightTensor]:
        """All weight tensors of the network, in its order."""
        return self._canvas.tensors

    def points(self) -> list[Point]:
        """Return all settings with their losses and predictors."""
        calibration = slice(0, self.settings.calibration)
        train = self.data.train
        images = ImagePredictors(self._canvas, train.images[calibration], train.labels[calibration], self.settings)
        weights, points = WeightPredictors(self._canvas), []
        places = self.settings.layers(self.tensors)
        chosen = [(place, quantizer) for place in places for quantizer in self.settings.quantizers]
        for place, quantizer in tqdm(chosen, "Settings", unit="setting", disable=None if self._progress else True):
            tensor = self.tensors[place]
            predictors = {**weights.of(place, quantizer), **images.of(tensor, quantizer)}
            points.append(Point(place, tensor, quantizer, self._loss(place, quantizer), predictors))
        return points

    def chance(self) -> Loss:
        """Return what the battery takes from the float network itself, attacked as a quantized one: mere chance."""
        return self._attacked(_FLOAT)

    def seconds(self, points: list[Point]) -> float:
        """Return the processor time of all attacks."""
        return self._kept.seconds + self.chance().seconds + sum(point.loss.seconds for point in points)

    def _loss(self, place: int, quantizer: Quantizer) -> Loss:
        with self._canvas.quantized(self.tensors[place], quantizer):
            return self._attacked(f"{place:03d}-{quantizer.name}-{quantizer.bits}")

    def _attacked(self, name: str) -> Loss:
        """Return the loss of the canvas as it is, from the cache or measured now."""
        path = self._folder / f"{name}.json"
        if path.is_file():
            return Loss.load(path)
        started = time.process_time()
        found = self._battery(self._examples(self._kept.rows), self._kept.examples)
        outcomes = tuple(
            Outcome.record(found.right[stage], model=name, column=stage, knowledge="white") for stage in STAGES
        )
        loss = Loss(outcomes, found.zeros, time.process_time() - started)
        loss.save(path)
        return loss

    def _examples(self, rows: Rows) -> Examples:
        test = self.data.test
        return Examples(test.images[rows], test.labels[rows], rows, min(_BATCH, len(rows)), self.settings.seed)

    def _keep(self) -> _Kept:
        path = self._folder / "kept.npz"
        if path.is_file():
            with archives.opened(path, "the images of a layer study", "Remove it, and they are chosen again.") as kept:
                return _Kept(kept["rows"], kept["examples"], int(kept["looked_at"]), float(kept["seconds"]))
        found = self._search()
        archives.write(path, {name: np.asarray(value) for name, value in vars(found).items()})
        return found

    def _search(self) -> _Kept:
        wanted, started = self.settings.examples, time.process_time()
        battery = SmallBattery(self._float, None, self.settings)
        rows, examples, looked_at = [np.empty(0, np.int64)], [], 0
        for part in self._parts(min(len(self.data.test), _LOOKED_THROUGH * wanted)):
            attacked = battery(self._examples(part))
            right = attacked.right[WORST_CASE]
            rows.append(part[right])
            examples.append(attacked.examples[right])
            looked_at = int(part[-1]) + 1
            if sum(map(len, rows)) >= wanted:
                break
        found = np.concatenate(rows)[:wanted]
        if not len(found):
            raise InputError(
                "model",
                expected=f"a network that withstands some images within {self.settings.epsilon:g}",
                received=f"one that withstands none of {looked_at}",
                remedy="Give a smaller epsilon, or an adversarially trained network.",
            )
        seconds = time.process_time() - started
        looked_at = int(found[-1]) + 1 if len(found) == wanted else looked_at
        return _Kept(found, np.concatenate(examples)[:wanted], looked_at, seconds)

    @staticmethod
    def _parts(count: int) -> Iterator[Rows]:
        for start in range(0, count, _BATCH):
            yield np.arange(start, min(start + _BATCH, count))
