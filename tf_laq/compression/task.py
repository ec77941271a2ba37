"""What a compression is asked for, checked before anything runs."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq import datasets
from tf_laq._internal.validation import whole
from tf_laq.adapters import check_float, is_keras_model
from tf_laq.attacks import PGD, Battery
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier
from tf_laq.evaluation.classifier import FIRST_IMAGES, UNIT, SettledClassifier, settled_on

_QUICK = ("clean", "pgd")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A model, data that fit it, and the attacks that count.

    Attributes:
        classifier: The model, and how it is to be called.
        settled: What that comes to.
        dataset: The data; the training part may be empty.
        test: The test images that are attacked.
        battery: The attacks of the worst case.
        quick: Those of the screening, which count in the worst case too.
    """

    classifier: Classifier
    settled: SettledClassifier
    dataset: Dataset
    test: Split
    battery: Battery
    quick: Battery

    @classmethod
    def of(
        cls,
        model: Any,
        data: str | os.PathLike[str] | Dataset,
        *,
        epsilon: float | None,
        norm: str,
        preset: str,
        examples: int,
    ) -> Task:
        """Return the task of these arguments of `compress`.

        Raises:
            InputError: An argument is wrong, or the model and the data do not fit.
        """
        whole("examples", examples)
        classifier = Classifier.of(model)
        dataset = datasets.load(data)
        test = Split(dataset.test.images[:examples], dataset.test.labels[:examples])
        settled = settled_on(classifier, dataset)
        if is_keras_model(classifier.model):
            check_float("model", classifier.model)
        if classifier.output is not None:
            remedy = "Compress a model that ends in this output alone, such as keras.Model(model.inputs, output)."
            raise InputError("model", expected="a model of one output", received="one of several", remedy=remedy)
        battery, quick = _batteries(dataset.name, epsilon, norm, preset)
        return cls(classifier=classifier, settled=settled, dataset=dataset, test=test, battery=battery, quick=quick)

    @property
    def model(self) -> Any:
        """The Keras model itself."""
        return self.classifier.model

    @property
    def attack(self) -> PGD:
        """The attack on training images, at the radius of the battery."""
        return self.quick.correction_attack

    @property
    def probe(self) -> npt.NDArray[np.float32] | None:
        """Images to compare files on; None where the model does not take them as they are, or they are too few."""
        return self.first_images if self.takes_images and len(self.test) >= FIRST_IMAGES else None

    @property
    def first_images(self) -> npt.NDArray[np.float32]:
        """The first test images."""
        return self.test.images[:FIRST_IMAGES]

    @property
    def can_train(self) -> bool:
        """Whether there are training images that the model takes as they are."""
        return self.takes_images and len(self.dataset.train) > 0

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images in [0, 1], channels last, as they are."""
        plain = self.classifier.preprocessing is None and self.classifier.data_format == "channels_last"
        return plain and self.settled.bounds == UNIT


def _batteries(name: str, epsilon: float | None, norm: str, preset: str) -> tuple[Battery, Battery]:
    """Return the attacks of the worst case, and those of the screening."""
    battery = Battery.of_data(name, preset, epsilon=epsilon, norm=norm)
    has_pgd = set(_QUICK) <= set(battery.names)
    return battery, (battery if has_pgd else Battery.of_data(name, "standard", epsilon=epsilon, norm=norm)).only(_QUICK)
