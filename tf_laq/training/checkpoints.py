"""The state of a training in one file, which is renewed whole: what is in it belongs together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq._internal import archives
from tf_laq._internal.validation import same_outputs
from tf_laq.errors import InputError
from tf_laq.training.devices import from_first_worker, state_of, writes_files

_STATE = "state.npz"


class Checkpoint:
    """The weights, the optimizer and the number of epochs of a model in training.

    Keras' own callback writes them into several files, one after the other: a training that is killed in between
    cannot go on, or goes on with weights and epochs that do not fit. Of several workers, the first has the file.

    Args:
        folder: Where the file is kept.
        model: A model that is built and compiled.
        training: What tells the training from others: its data, recipe, seed and first weights, as text.
        outputs: Those of the model before the training, for some images: weights do not tell of activations.
    """

    def __init__(self, folder: str | os.PathLike[str], model: Any, training: str, outputs: npt.ArrayLike) -> None:
        self._path, self._model = Path(folder, _STATE), model
        self._about = {"training": np.array(training), "outputs": np.asarray(outputs, np.float32)}

    def save(self, epochs: int) -> None:
        """Write the state after a number of epochs; until all is written, the file of before stays."""
        # All workers read: what each replica has of its own is read by all of them together.
        arrays = {str(number): array for number, array in enumerate(self._arrays())}
        if writes_files(self._model):
            archives.write(self._path, {"epochs": np.array(epochs), **self._about, **arrays})

    def restore(self) -> int:
        """Give the model the state in the file, if there is one, and return the number of epochs it has behind it.

        Raises:
            InputError: The file is damaged, or of another training.
        """
        # All workers do the same: they agree on the values of each variable that is made, read or assigned.
        self._model.optimizer.build(self._model.trainable_variables)
        epochs, arrays = np.array(0), self._arrays()
        if writes_files(self._model) and self._path.exists():
            epochs, arrays = self._read()
        epochs, *arrays = from_first_worker(self._model, [epochs, *arrays])
        if epochs:
            for variable, array in zip(state_of(self._model), arrays, strict=True):
                variable.assign(array)
        return int(epochs)

    def _arrays(self) -> list[Any]:
        return [_exact(variable.numpy()) for variable in state_of(self._model)]

    def _read(self) -> tuple[Any, list[Any]]:
        expected = "the state of this training: of the same data, recipe, seed and network"
        remedy = "Remove it to train from the start."
        with archives.opened_whole(self._path, expected, remedy) as content:
            alike = set(self._about) <= set(content) and str(content["training"]) == str(self._about["training"])
            if not (alike and same_outputs(content["outputs"], self._about["outputs"])):
                raise InputError(str(self._path), expected=expected, received="that of another", remedy=remedy)
            numbers = sorted(map(int, set(content) - {"epochs", *self._about}))
            return content["epochs"], [content[str(number)] for number in numbers]


def epochs_behind(folder: str | os.PathLike[str]) -> int:
    """Return the number of epochs that the training with a checkpoint in a folder has behind it.

    Raises:
        InputError: The file is damaged.
    """
    path = Path(folder, _STATE)
    if not path.exists():
        return 0
    with archives.opened_whole(path, "the state of a training", "Remove it to train from the start.") as content:
        return int(content["epochs"])


def _exact(array: Any) -> Any:
    """Return an array in a dtype that .npz files know, with the same values."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
