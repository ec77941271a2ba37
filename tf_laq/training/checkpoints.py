"""The state of a training in one file, which is renewed whole: what is in it belongs together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tf_laq._internal import archives
from tf_laq.errors import InputError

_STATE = "state.npz"


class Checkpoint:
    """The weights, the optimizer and the number of epochs of a model in training.

    Keras' own callback writes them into several files, one after the other: a training that is killed in between
    cannot go on, or goes on with weights and epochs that do not fit.

    Args:
        folder: Where the file is kept.
        model: A model that is built and compiled.
    """

    def __init__(self, folder: str | os.PathLike[str], model: Any) -> None:
        self._path, self._model = Path(folder, _STATE), model

    def save(self, epochs: int) -> None:
        """Write the state after a number of epochs; until all is written, the file of before stays."""
        arrays = {str(number): _exact(variable.numpy()) for number, variable in enumerate(self._variables())}
        archives.write(self._path, {"epochs": np.array(epochs), **arrays})

    def restore(self) -> int:
        """Give the model the state in the file, if there is one, and return the number of epochs it has behind it.

        Raises:
            InputError: The file is damaged, or of another model.
        """
        if not self._path.exists():
            return 0
        self._model.optimizer.build(self._model.trainable_variables)
        variables = self._variables()
        expected, remedy = "the state of this training", "Remove it to train from the start."
        with archives.opened_whole(self._path, expected, remedy) as content:
            epochs = int(content["epochs"])
            arrays = [content[str(number)] for number in range(len(content) - 1)]
        shapes = [tuple(variable.shape) for variable in variables]
        if [array.shape for array in arrays] != shapes:
            raise InputError(str(self._path), expected=expected, received="that of another model", remedy=remedy)
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        return epochs

    def _variables(self) -> list[Any]:
        # Those of metrics begin anew in every epoch, and are made in the first one.
        of_metrics = {id(variable) for metric in self._model.metrics for variable in metric.variables}
        of_model = [variable for variable in self._model.variables if id(variable) not in of_metrics]
        return [*of_model, *self._model.optimizer.variables]


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
