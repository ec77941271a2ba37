"""Training a network once: its file says what it was trained with, and the same training is not done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tf_laq import datasets
from tf_laq._internal.documents import Document
from tf_laq._internal.messages import Announce, print_now
from tf_laq.adapters import keras_module
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.saving import load_model, save_model
from tf_laq.training import recipes
from tf_laq.training.fitting import train
from tf_laq.training.recipes import Recipe
from tf_laq.version import __version__


@dataclasses.dataclass(frozen=True)
class TrainingRecord(Document):
    """What a model file was trained with; by it a later run knows whether it can be used again.

    Attributes:
        dataset: Name of the data set.
        recipe: The fields of the recipe, without its description.
        keras: The version of Keras, 2 or 3.
        seed: The seed.
        release: The version of tf_laq.
        sha256: Of the model file.
    """

    document: ClassVar[str] = "tf_laq training record"
    version: ClassVar[int] = 2

    dataset: str
    recipe: Mapping[str, Any]
    keras: int
    seed: int
    release: str
    sha256: str


def trained_model(
    dataset: str | Dataset,
    recipe: str | Recipe,
    path: str | os.PathLike[str],
    *,
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    overwrite: bool = True,
    announce: Announce = print_now,
    progress: bool = True,
) -> Any:
    """Return the model that was trained earlier, or train one and save it.

    A training that was interrupted goes on from its checkpoint, a folder beside `path` until the end. The record of the
    training lies beside `path` too, as `<name>.training.json`, and the losses and accuracies of each epoch, as
    `<name>.log.csv`.

    Args:
        dataset: What `datasets.load` returned, or its name.
        recipe: A recipe, or the name of one for this data set.
        path: The `.keras` file.
        keras: The version of Keras that the network is built with, 2 or 3.
        seed: The seed.
        retrain: Train even if `path` was trained with the same data set, recipe, Keras, seed and version.
        overwrite: Replace a file that was trained with others, or was not trained by this function.
        announce: Receives a line that says which of the two is done.
        progress: Show a progress bar on a terminal.

    Raises:
        InputError: An argument is wrong, as for `train`, or there is a file that is not to be replaced.
        OSError: The folder cannot be written.
    """
    path = Path(path)
    name = dataset if isinstance(dataset, str) else dataset.name
    recipe = recipes.recipe(name, recipe) if isinstance(recipe, str) else recipe
    data = datasets.load(dataset, seed=seed) if isinstance(dataset, str) else dataset
    settings = {field: value for field, value in dataclasses.asdict(recipe).items() if field != "about"}
    wanted = TrainingRecord(name, settings, keras, seed, __version__, _sha256(path))
    record = path.with_suffix(".training.json")
    same = _saved(record) == wanted
    if wanted.sha256 and not same and not overwrite:
        raise InputError(
            "path",
            expected="a new file, or one that was trained with the same data set, recipe and seed",
            received=f"{path}, which was not",
            remedy="Choose another name, or set overwrite=True.",
        )
    if not retrain and wanted.sha256 and same:
        announce(f"Use the model trained earlier: {path} (same data set, recipe and seed)")
        return load_model(path)
    kind = "adversarially " if recipe.attack is not None else ""
    announce(f"Train {path.stem} {kind}on {name}: {recipe.epochs} epochs, seed {seed}")
    key = hashlib.sha256(json.dumps(dataclasses.replace(wanted, sha256="").to_dict()).encode()).hexdigest()
    begun = path.with_suffix(f".{key[:8]}.checkpoint")
    epochs = begun.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    log = keras_module(keras).callbacks.CSVLogger(epochs, append=True)
    model = train(data, recipe, keras=keras, seed=seed, checkpoint=begun, callbacks=[log], progress=progress)
    save_model(model, path)
    epochs.replace(path.with_suffix(".log.csv"))
    dataclasses.replace(wanted, sha256=_sha256(path)).save(record)
    return model


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _saved(path: Path) -> TrainingRecord | None:
    try:
        return TrainingRecord.load(path)
    except InputError:  # None yet, or damaged: the model is trained anew.
        return None
