"""Saved adversarial examples: the worst one of each image for one model, with all that is needed to check them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tf_laq import files
from tf_laq.attacks.base import Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation.checks import excess_of
from tf_laq.evaluation.report import Correct

Array = npt.NDArray[Any]


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
        arrays = {name: getattr(self, name) for name in ARRAYS}
        header = {name: getattr(self, name) for name in ("model", "sha256", "seed")}
        write(path, {**header, "battery": self.battery.to_dict()}, len(self.labels), lambda name: [arrays[name]])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AdversarialExamples:
        """Read the examples from a file.

        Raises:
            InputError: There is no such file, it is damaged, or it is of another kind or version.
        """
        expected = f"a whole {cls.document} file, version {cls.version}"
        try:
            with np.load(path, allow_pickle=False) as content:
                header = json.loads(str(content["header"]))
                kind = {name: header.get(name) for name in ("document", "version")}
                if kind != {"document": cls.document, "version": cls.version}:
                    received = f"document {kind['document']}, version {kind['version']}"
                    remedy = "Make it again with this version of tf_laq."
                    raise InputError(str(path), expected=expected, received=received, remedy=remedy)
                return cls(
                    **{name: header[name] for name in ("model", "sha256", "seed")},
                    battery=Battery.from_dict(header["battery"]),
                    **{name: content[name] for name in ARRAYS},
                )
        except InputError:
            raise
        except (OSError, EOFError, zipfile.BadZipFile, KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                str(path),
                expected=expected,
                received=f"something else ({type(error).__name__}: {error})",
                remedy="The file may be truncated: make it again.",
            ) from error


ARRAYS = tuple(
    field.name
    for field in dataclasses.fields(AdversarialExamples)
    if field.name not in ("model", "sha256", "seed", "battery")
)


def write(
    path: str | os.PathLike[str], header: Mapping[str, Any], count: int, pieces: Callable[[str], Iterable[Array]]
) -> None:
    """Write a file of adversarial examples piece by piece, so that they need not all be in memory.

    Args:
        path: The file.
        header: The fields `model`, `sha256`, `seed` and `battery` as JSON-ready values.
        count: Number of examples.
        pieces: From the name of an array to its pieces along the first axis, in order.
    """
    kind = {"document": AdversarialExamples.document, "version": AdversarialExamples.version}
    with (
        files.replacing(path) as temporary,
        # Perturbed images compress badly however long one tries.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        with archive.open("header.npy", "w") as file:
            np.lib.format.write_array(file, np.array(json.dumps({**kind, **header})))
        for name in ARRAYS:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, count, iter(pieces(name)))


def _write_array(file: IO[bytes], count: int, pieces: Iterator[Array]) -> None:
    """Write NumPy's header of an array of `count` rows, then the bytes of its pieces."""
    first = next(pieces)
    descr = np.lib.format.dtype_to_descr(first.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (count, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in itertools.chain([first], pieces):
        file.write(np.ascontiguousarray(piece).tobytes())


def load_examples(folder: str | os.PathLike[str]) -> list[AdversarialExamples]:
    """Read the adversarial examples of all models that an evaluation left in a folder, in the models' order.

    Raises:
        InputError: A file is damaged or of another version.
    """
    return [AdversarialExamples.load(path) for path in sorted(Path(folder).glob("examples-*.npz"))]
