"""Training a network once: its file says what it was trained with, and the same training is not done again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tf_laq import datasets
from tf_laq._internal import files
from tf_laq._internal.documents import Count, Document
from tf_laq._internal.messages import Announce, print_now
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import same_outputs
from tf_laq.adapters import keras_module, keras_version
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.models import weights_sha256
from tf_laq.saving import check_path, load_model, save_model
from tf_laq.training import recipes
from tf_laq.training.checkpoints import epochs_behind
from tf_laq.training.copying import check_gives_logits, first_outputs
from tf_laq.training.fitting import new_network, train_network
from tf_laq.training.recipes import Recipe
from tf_laq.version import __version__


@dataclasses.dataclass(frozen=True)
class TrainingRecord(Document):
    """What a model file was trained with; by it a later run knows whether it can be used again.

    Attributes:
        dataset: Name of the data set.
        images: SHA-256 of its training images and their labels.
        model: SHA-256 of the weights that the training began with; empty for those of the seed.
        outputs: Those of that network for the first training images: weights do not tell of activations.
        recipe: The fields of the recipe, without its description.
        keras: The version of Keras, 2 or 3.
        seed: The seed.
        release: The version of tf_laq.
        sha256: Of the model file.
    """

    document: ClassVar[str] = "tf_laq training record"
    version: ClassVar[int] = 5

    dataset: str
    images: str
    model: str
    outputs: tuple[tuple[float, ...], ...]
    recipe: Mapping[str, Any]
    keras: Count
    seed: Count
    release: str
    sha256: str

    def is_of_the_same_training(self, other: TrainingRecord) -> bool:
        """Return whether two records differ in nothing but by rounding, whatever their files are."""
        alike = dataclasses.replace(self, outputs=other.outputs, sha256=other.sha256) == other
        return alike and same_outputs(self.outputs, other.outputs)


@typed
def trained_model(
    dataset: str | Dataset,
    recipe: str | Recipe,
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    overwrite: bool = True,
    announce: Announce = print_now,
    progress: bool = True,
) -> Any:
    """Return the model that was trained earlier, or train one and save it.

    A training that was interrupted goes on from its checkpoint, a folder beside `path` until the model is saved. The
    record of the training lies beside `path` too, as `<name>.training.json`, and the losses and accuracies of each
    epoch, as `<name>.log.csv`.

    Args:
        dataset: What `datasets.load` returned, or its name or path.
        recipe: A recipe, or the name of one for this data set.
        path: The `.keras` file.
        model: The network in place of the recipe's, as for `train`.
        keras: The version of Keras that the network is built with, 2 or 3.
        seed: The seed.
        retrain: Train even if `path` was trained with the same data, model, recipe, Keras, seed and version.
        overwrite: Replace a file that was trained with something else, or not by this function, instead of refusing.
        announce: Receives a line that says which of the two is done.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Raises:
        InputError: An argument is wrong, as for `train`; or, before the first epoch, `path` is not to be replaced,
            cannot be written, or is being written by another run.
    """
    path = Path(path)
    recipe = recipes.recipe(dataset, recipe) if isinstance(recipe, str) else recipe
    data = datasets.load(dataset, seed=seed)
    if model is not None:
        name = model if isinstance(model, str) else None
        recipe = recipe if recipe.model == name else dataclasses.replace(recipe, model=name, model_options={})
        model = None if name else model
    start, outputs = "", tuple[tuple[float, ...], ...]()
    if model is not None:
        keras, start = keras_version(model), weights_sha256(model)
        check_gives_logits(model, data)
        outputs = tuple(map(tuple, first_outputs(model, data).tolist()))
    settings = {field: value for field, value in dataclasses.asdict(recipe).items() if field != "about"}
    wanted = TrainingRecord(data.name, data.train.sha256, start, outputs, settings, keras, seed, __version__, "")
    record = path.with_suffix(".training.json")
    begun = path.with_suffix(f".{dataclasses.replace(wanted, outputs=()).checksum[:8]}.checkpoint")
    files.sweep(path.parent)
    if not retrain and _is_there(path, wanted):
        announce(f"Use the model trained earlier: {path} (same data set, recipe and seed)")
        shutil.rmtree(begun, ignore_errors=True)  # What a run that was killed at its very end left.
        with contextlib.suppress(InputError), files.locked(path):  # Its lock, which the end of this removes.
            pass
        return load_model(path)
    network = new_network(data, recipe, model, keras=keras, seed=seed)
    check_path(path, keras)
    kind = "adversarially " if recipe.attack is not None else ""
    with files.locked(path):
        # Another run may have written it until now.
        if path.exists() and not overwrite and not _is_there(path, wanted):
            raise InputError(
                "path",
                expected="a new file, or one that was trained with the same data set, recipe and seed",
                received=f"{path}, which was not",
                remedy="Choose another name, or set overwrite=True.",
            )
        announce(f"Train {path.stem} {kind}on {data.name}: {recipe.epochs} epochs, seed {seed}")
        begun.mkdir(exist_ok=True)
        epochs = begun / "epochs.csv"
        _shorten(epochs, epochs_behind(begun))
        log = keras_module(keras).callbacks.CSVLogger(epochs, append=True)
        train_network(network, data, recipe, seed=seed, checkpoint=begun, callbacks=[log], progress=progress)
        with files.replacing_together(path.parent) as temporary:
            save_model(network, temporary / path.name)
            shutil.copyfile(epochs, temporary / path.with_suffix(".log.csv").name)
            _with_sha256(wanted, temporary / path.name).save(temporary / record.name)
        shutil.rmtree(begun, ignore_errors=True)
    return network


def _shorten(epochs: Path, count: int) -> None:
    """Leave of a log what comes before the epoch that a training goes on with."""
    if epochs.exists():
        lines = epochs.read_text(encoding="utf-8").splitlines(keepends=True)
        files.write_text(epochs, "".join(lines[: count + 1] if count else []))


def _with_sha256(record: TrainingRecord, path: Path) -> TrainingRecord:
    return dataclasses.replace(record, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _is_there(path: Path, wanted: TrainingRecord) -> bool:
    """Return whether a file is the model of a record."""
    try:
        saved = TrainingRecord.load(path.with_suffix(".training.json"))
    except InputError:  # None yet, or damaged: the model is trained anew.
        return False
    whole = path.is_file() and saved.sha256 == _with_sha256(wanted, path).sha256
    return whole and saved.is_of_the_same_training(wanted)
