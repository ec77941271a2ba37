"""What is kept of an evaluation: its finished parts, by which it goes on after a kill, its examples and its report."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tf_laq._internal import archives, files
from tf_laq._internal.archives import Array
from tf_laq._internal.documents import Count, Document, Part, Positive, Sha256
from tf_laq.attacks.battery import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation.adversarial import ARRAYS, AdversarialExamples, write_examples
from tf_laq.evaluation.examples import Examples
from tf_laq.evaluation.models import EvaluatedModel, EvaluatedModels, same_model
from tf_laq.evaluation.outcomes import PartResult
from tf_laq.version import __version__

Worst = Mapping[str, Mapping[str, Array]]

REPORT = "report.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(Document):
    """All that the report of an evaluation depends on; two equal ones have the same report.

    Models are told apart by the SHA-256 of their weights, where they are Keras models, by the settings of their
    `Classifier`, and by their logits for the first images.
    """

    document: ClassVar[str] = "tf_laq evaluation inputs"
    version: ClassVar[int] = 4

    release: str
    images: Sha256
    labels: Sha256
    part_size: Positive
    seed: Count
    battery: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    surrogates: Mapping[str, Mapping[str, Any]]
    float_twins: Mapping[str, Mapping[str, Any]]
    check_strength: bool
    expected_clean: Mapping[str, Part]

    @classmethod
    def of(
        cls,
        models: EvaluatedModels,
        data: Examples,
        battery: Battery,
        part_size: int,
        check_strength: bool,
        expected_clean: Mapping[str, float],
    ) -> Inputs:
        """Describe an evaluation."""
        return cls(
            release=__version__,
            images=archives.sha256([data.images, data.numbers]),
            labels=archives.sha256([data.labels]),
            part_size=int(part_size),
            seed=data.seed,
            battery=battery.to_dict(),
            **models.described,
            check_strength=bool(check_strength),
            expected_clean=dict(expected_clean),
        )

    def differences(self, other: Inputs) -> list[str]:
        """Return what differs from other inputs, by the names of the arguments of `evaluate`."""
        found, other = [], Inputs.from_json(other.to_json())
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name in ("models", "surrogates", "float_twins"):
                found += different_models(field.name, mine, theirs)
            elif mine != theirs:
                found.append(field.name)
        return found


class EvaluationFolder:
    """What an evaluation keeps on the disk.

    `inputs.json` says what is evaluated. A finished part is one file `part-<number>.npz`, with its outcomes and the
    worst examples of all models. At the end these become one file `outcomes.npz` and, for each model, one file
    `examples-<number>-<model>.npz`; then comes `report.json`. Every file is written whole or not at all, so a kill
    loses the part at work and nothing else.

    Args:
        path: The folder; it is made if there is none.
        inputs: What is evaluated.
        overwrite: Remove what an evaluation of other inputs left there.

    Attributes:
        report: The path of the report, which is there if the evaluation was finished.

    Raises:
        InputError: The folder has an evaluation of other inputs, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], inputs: Inputs, *, overwrite: bool = False) -> None:
        self.path, self.inputs = Path(path), inputs
        self.report = self.path / REPORT
        files.sweep(self.path)
        manifest = self.path / "inputs.json"
        different = self._differences(manifest)
        if different and set(different) <= {"check_strength", "expected_clean"}:
            # The outcomes do not depend on these, only what is concluded from them.
            self.report.unlink(missing_ok=True)
        elif different and not overwrite:
            raise InputError(
                f"folder {self.path}",
                expected="no evaluation, or one of the same inputs",
                received=f"one with other {', '.join(different)}",
                remedy="Choose another folder, or set overwrite=True to begin anew.",
            )
        elif different:
            self._clear()
        if different or not self._results():
            inputs.save(manifest)

    def load(self, number: int) -> PartResult | None:
        """Return the outcomes of a part that was finished, or None."""
        return self._read(self._part(number))

    def save(self, number: int, result: PartResult, worst: Worst) -> None:
        """Keep a finished part."""
        arrays = result.to_arrays()
        for place, model in enumerate(self.inputs.models):
            arrays |= {f"model{place}.{name}": values for name, values in worst[model].items()}
        archives.write(self._part(number), arrays)

    def outcomes(self) -> PartResult | None:
        """Return the outcomes of all examples if every part was finished, or None."""
        found = self._read(self.path / "outcomes.npz")
        if found is not None:
            self._remove_parts()
        return found

    def finish(
        self, result: PartResult, parts: Sequence[Examples], models: Sequence[EvaluatedModel], battery: Battery
    ) -> PartResult:
        """Turn the parts into one file of outcomes and one of adversarial examples for each model.

        Returns:
            The result with the excess of the saved examples counted too: it is measured on the saved arrays.
        """
        excess = dict(result.excess)
        for place, model in enumerate(models):
            about: dict[str, Any] = {
                "model": model.name,
                "sha256": model.sha256,
                "seed": self.inputs.seed,
                "battery": battery,
            }
            for number, part in enumerate(parts):
                fields: dict[str, Any] = {name: self._array(place, name, number, part) for name in ARRAYS}
                saved = AdversarialExamples(**fields, **about)
                excess[model.name] = max(excess[model.name], saved.excess())
            safe = re.sub(r"[^0-9A-Za-z_.-]", "_", model.name)
            write_examples(
                self.path / f"examples-{place:02d}-{safe}.npz",
                **about,
                pieces={name: self._pieces(place, name, parts) for name in ARRAYS},
                count=sum(len(part.images) for part in parts),
            )
        result = dataclasses.replace(result, excess=excess)
        archives.write(self.path / "outcomes.npz", result.to_arrays())
        self._remove_parts()
        return result

    def _pieces(self, place: int, name: str, parts: Sequence[Examples]) -> Iterator[Array]:
        """Yield an array of a model's adversarial examples, part by part."""
        for number, part in enumerate(parts):
            yield self._array(place, name, number, part)

    def _array(self, place: int, name: str, number: int, part: Examples) -> Array:
        of_the_data: dict[str, Array] = {"clean": part.images, "labels": part.labels, "indices": part.numbers}
        if name in of_the_data:
            return of_the_data[name]
        with _opened(self._part(number)) as arrays:
            return arrays[f"model{place}.{name}"]

    def _read(self, path: Path) -> PartResult | None:
        if not path.exists():
            return None
        with _opened(path) as arrays:
            return PartResult.from_arrays(arrays)

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:04d}.npz"

    def _differences(self, manifest: Path) -> list[str]:
        if not self._results():
            return []
        if not manifest.exists():
            return ["inputs, which are not known"]
        try:
            return Inputs.load(manifest).differences(self.inputs)
        except InputError as error:  # Another version, or damaged.
            return [f"inputs ({error})"]

    def _results(self) -> list[Path]:
        # Report and outcomes first: without them, nothing counts as finished.
        patterns = (REPORT, "outcomes.npz", "examples-*.npz", "part-*.npz")
        return [path for pattern in patterns for path in self.path.glob(pattern)]

    def _clear(self) -> None:
        for path in self._results():
            path.unlink()

    def _remove_parts(self) -> None:
        for path in self.path.glob("part-*.npz"):
            path.unlink()


@contextlib.contextmanager
def opened_folder(path: str | os.PathLike[str], inputs: Inputs, *, overwrite: bool) -> Iterator[EvaluationFolder]:
    """Give the folder of an evaluation, which no other run can use meanwhile.

    Arguments and errors are those of `EvaluationFolder`.
    """
    with files.locked(Path(path) / REPORT):
        yield EvaluationFolder(path, inputs, overwrite=overwrite)


def _opened(path: Path) -> contextlib.AbstractContextManager[Mapping[str, Array]]:
    return archives.opened_whole(path, "a whole part of an evaluation", "Remove it, and its images are attacked again.")


def different_models(argument: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return which models of an argument of `evaluate` are not the same, by their descriptions."""
    if list(mine) != list(theirs):
        return [f"{argument} ({', '.join(mine) or 'none'})"]
    return [f"{argument}[{name!r}]" for name in mine if not same_model(mine[name], theirs[name])]
