"""Saved adversarial examples: the worst one of each image for one model, with all that is needed to check them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tf_laq._internal import archives
from tf_laq._internal.archives import Array
from tf_laq._internal.documents import Count, Document
from tf_laq._internal.typed import typed
from tf_laq.attacks.base import Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.evaluation.outcomes import Correct, excess_of


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AdversarialExamples:
    """For each image, the example that a model is least right about, of all that it was shown in an evaluation.

    An image that the model withstands has the example that came nearest to breaking it.

    Attributes:
        model: Name of the model.
        sha256: Of the weights of a Keras model; "" for other callables.
        seed: Seed of the random attacks.
        battery: The attacks with their settings.
        images: float32 adversarial images (n, height, width, channels) in [0, 1].
        clean: The images without a change, same shape.
        labels: int64 true classes (n,).
        indices: int64 numbers of the images in the evaluated data (n,).
        margins: float32 logit of the true class minus the largest other one at `images` (n,): negative where broken.
        predicted: int64 classes that the model gives to `images` (n,).
        clean_predicted: int64 classes that the model gives to `clean` (n,).
        columns: Name of the battery's column that made each example (n,).
        knowledge: "none", "gray" or "white", of each example (n,).
    """

    model: str
    sha256: str
    seed: int
    battery: Battery
    images: Images
    clean: Images
    labels: Labels
    indices: Labels
    margins: npt.NDArray[np.float32]
    predicted: Labels
    clean_predicted: Labels
    columns: npt.NDArray[np.str_]
    knowledge: npt.NDArray[np.str_]

    @property
    def correct(self) -> Correct:
        """Where the model withstood every attack, shape (n,)."""
        return np.asarray(self.predicted == self.labels)

    def only(self, rows: npt.ArrayLike) -> AdversarialExamples:
        """Return the examples at these rows."""
        return dataclasses.replace(self, **{name: getattr(self, name)[np.asarray(rows)] for name in ARRAYS})

    def excess(self) -> float:
        """Return how far any image is outside of [0, 1] or of its attack's ball, in pixel units; at least 0."""
        attacks = {column.name: column.attacks for column in self.battery.columns}
        excess = 0.0
        for column, knowledge in {*zip(self.columns.tolist(), self.knowledge.tolist(), strict=True)}:
            rows = (self.columns == column) & (self.knowledge == knowledge)
            excess = max(excess, excess_of(attacks[column][knowledge], self.images[rows], self.clean[rows]))
        return excess

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the examples to an `.npz` file, whole or not at all.

        Raises:
            InputError: The path cannot be written.
        """
        pieces = {name: iter([getattr(self, name)]) for name in ARRAYS}
        write_examples(path, self.model, self.sha256, self.seed, self.battery, pieces, len(self.labels))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AdversarialExamples:
        """Read the examples from a file.

        Raises:
            InputError: There is no such file, it is damaged, or it is of another kind or version.
        """
        expected = f"a whole {_Header.document} file, version {_Header.version}"
        with archives.opened_whole(path, expected, "It may be truncated: make it again.") as content:
            header = _Header.from_json(str(content["header"]), source=str(path))
            arrays: dict[str, Any] = {name: content[name] for name in ARRAYS}
            if len({len(array) for array in arrays.values()}) != 1:
                raise ValueError("arrays of different numbers of examples")
            return cls(**vars(header), **arrays)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Header(Document):
    """What a file of adversarial examples has beside its arrays."""

    document: ClassVar[str] = "tf_laq adversarial examples"
    version: ClassVar[int] = 2

    model: str
    sha256: str
    seed: Count
    battery: Battery

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return {**super().to_dict(), "battery": self.battery.to_dict()}


_OF_HEADER = {field.name for field in dataclasses.fields(_Header)}
ARRAYS = tuple(field.name for field in dataclasses.fields(AdversarialExamples) if field.name not in _OF_HEADER)


def write_examples(
    path: str | os.PathLike[str],
    model: str,
    sha256: str,
    seed: int,
    battery: Battery,
    pieces: Mapping[str, Iterator[Array]],
    count: int,
) -> None:
    """Write a file of `count` adversarial examples; its arrays come in pieces, so that they need not be in memory."""
    header = _Header(model=model, sha256=sha256, seed=seed, battery=battery)
    archives.write_pieces(path, {"header": np.array(header.to_json())}, pieces, count)


@typed
def load_examples(path: str | os.PathLike[str]) -> list[AdversarialExamples]:
    """Read the adversarial examples of all models that an evaluation left in a folder, in the models' order.

    Args:
        path: The folder of a finished evaluation, or one of its files.

    Returns:
        One object per model; none where there is no finished evaluation.

    Raises:
        InputError: A file is damaged or of another version.
    """
    paths = [Path(path)] if Path(path).is_file() else sorted(Path(path).glob("examples-*.npz"))
    return [AdversarialExamples.load(path) for path in paths]
