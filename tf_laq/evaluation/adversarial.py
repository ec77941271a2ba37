"""Saved adversarial examples: the worst one of each image for one model, with all that is needed to check them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tf_laq._internal import archives
from tf_laq._internal.archives import Array
from tf_laq._internal.typed import typed
from tf_laq.attacks.base import Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.errors import InputError
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

    document: ClassVar[str] = "tf_laq adversarial examples"
    version: ClassVar[int] = 1

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
        expected = f"a whole {cls.document} file, version {cls.version}"
        with archives.opened(path, expected, "It may be truncated: make it again.") as content:
            header = json.loads(str(content["header"]))
            kind = {name: header.get(name) for name in ("document", "version")}
            if kind != {"document": cls.document, "version": cls.version}:
                received = f"document {kind['document']}, version {kind['version']}"
                remedy = "Make it again with this version of tf_laq."
                raise InputError(str(path), expected=expected, received=received, remedy=remedy)
            arrays: dict[str, Any] = {name: content[name] for name in ARRAYS}
            return cls(
                model=header["model"],
                sha256=header["sha256"],
                seed=header["seed"],
                battery=Battery.from_dict(header["battery"]),
                **arrays,
            )


ARRAYS = tuple(
    field.name
    for field in dataclasses.fields(AdversarialExamples)
    if field.name not in ("model", "sha256", "seed", "battery")
)


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
    header = {
        "document": AdversarialExamples.document,
        "version": AdversarialExamples.version,
        "model": model,
        "sha256": sha256,
        "seed": seed,
        "battery": battery.to_dict(),
    }
    archives.write_pieces(path, {"header": np.array(json.dumps(header))}, pieces, count)


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
