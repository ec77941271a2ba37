"""The losses of every setting, each kept on the disk, beside the predictors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from research.cache import Arrays, Cache
from research.canvas import Canvas
from research.layers.attacking import WORST_CASE, Rows, SmallBattery
from research.layers.predictors import ImagePredictors, WeightPredictors
from research.layers.settings import LayerSettings
from research.statistics import share
from tf_laq import models
from tf_laq.adapters import logits_function
from tf_laq.attacks import Images
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.evaluation import Correct, Examples, Share
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

_BATCH = 100
# A network that withstands fewer than one image in so many is not what this is about.
_LOOKED_THROUGH = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """What the battery left of the images that the float network withstands.

    Attributes:
        right: Stage -> where the network is right after it.
        zeros: Share of exact zeros in the input gradients.
        seconds: Processor time.
    """

    right: Mapping[str, Correct]
    zeros: float
    seconds: float

    def lost(self, stage: str = WORST_CASE) -> Share:
        """Return the share of the images that were lost up to a stage."""
        return share(~self.right[stage])


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
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

    Of the `Trial`s, only the processor time differs from one run to another.

    Args:
        model: A built Keras model, which stays as it is.
        data: Its data set: test images are attacked, training images calibrate.
        settings: What is quantized, and how hard it is attacked.
        cache: What keeps the losses.
        progress: Show a progress bar on a terminal.
    """

    def __init__(
        self, model: Any, data: Dataset, settings: LayerSettings, *, cache: Cache, progress: bool = True
    ) -> None:
        self.data, self.settings, self._cache, self._progress = data, settings, cache, progress
        self._float, self._canvas = logits_function(model), Canvas(model)
        self.sha256 = models.weights_sha256(model)
        self._facts = {"network": self.sha256, "images": data.test.sha256, **settings.attack_facts()}
        kept = cache.arrays("layers-kept", self._facts, lambda: vars(self._search()))
        self._kept = _Kept(kept["rows"], kept["examples"], int(kept["looked_at"]), float(kept["seconds"]))
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

    def trials(self) -> list[Trial]:
        """Return all settings with their losses and predictors."""
        calibration = slice(0, self.settings.calibration)
        train = self.data.train
        images = ImagePredictors(self._canvas, train.images[calibration], train.labels[calibration], self.settings)
        weights, found = WeightPredictors(self._canvas), []
        places = self.settings.layers(self.tensors)
        chosen = [(place, quantizer) for place in places for quantizer in self.settings.choices]
        for place, quantizer in tqdm(chosen, "Settings", unit="setting", disable=None if self._progress else True):
            tensor = self.tensors[place]
            predictors = {**weights.of(place, quantizer), **images.of(tensor, quantizer)}
            with self._canvas.quantized(tensor, quantizer):
                loss = self._attacked(f"{place:03d}-{quantizer.name}-{quantizer.bits}")
            found.append(Trial(place, tensor, quantizer, loss, predictors))
        return found

    def chance(self) -> Loss:
        """Return what the battery takes from the float network itself, attacked as a quantized one: mere chance."""
        return self._attacked("float32")

    def seconds(self, trials: list[Trial]) -> float:
        """Return the processor time of all attacks."""
        return self._kept.seconds + self.chance().seconds + sum(trial.loss.seconds for trial in trials)

    def _attacked(self, setting: str) -> Loss:
        """Return the loss of the canvas as it is, from the cache or measured now."""

        def make() -> Arrays:
            started = time.process_time()
            found = self._battery(self._examples(self._kept.rows), self._kept.examples)
            numbers = {"zeros": found.zeros, "seconds": time.process_time() - started}
            return {**found.right, **{name: np.asarray(value) for name, value in numbers.items()}}

        found = self._cache.arrays(f"layers-{setting}", {**self._facts, "setting": setting}, make)
        zeros, seconds = (float(found.pop(name)) for name in ("zeros", "seconds"))
        return Loss(found, zeros, seconds)

    def _examples(self, rows: Rows) -> Examples:
        test = self.data.test
        return Examples(test.images[rows], test.labels[rows], rows, min(_BATCH, len(rows)), self.settings.seed)

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
