"""Keras models as files: saved whole or not at all, and loaded with quantized layers known."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

from tf_laq import files
from tf_laq.adapters import keras_module
from tf_laq.errors import InputError


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a Keras model to a `.keras` file, whole or not at all.

    Raises:
        InputError: The path does not end in ".keras" or cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise InputError("path", expected='a file name that ends in ".keras"', received=repr(str(path)))
    with files.replacing(path) as temporary:
        model.save(temporary)


def load_model(path: str | os.PathLike[str]) -> Any:
    """Load a model, quantized or not, with the version of Keras that saved it.

    The model is not compiled.

    Args:
        path: A `.keras` or `.h5` file, or a SavedModel folder of Keras 2.

    Raises:
        InputError: There is no such file, or Keras cannot load it.
    """
    if not Path(path).exists():
        raise InputError(str(path), expected="a saved Keras model", received="no such file")
    version = _saved_by(Path(path))
    keras = keras_module(version)
    # Registers the wrapper and its quantizers.
    importlib.import_module(f"tf_laq.keras{version}")
    try:
        with warnings.catch_warnings():
            # An optimizer's state that no one will use; TensorFlow warns that it is not restored.
            warnings.simplefilter("ignore")
            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Each of the formats fails in ways of its own.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            str(path),
            expected="a model saved by Keras: a .keras or .h5 file, or a SavedModel folder of Keras 2",
            received=f"something that Keras {version} cannot load ({reason.strip()})",
            remedy="It may be truncated, exported without its layers, or need a custom class that is not registered.",
        ) from error
    if not isinstance(model, keras.Model):
        kind = f"a {type(model).__name__} without layers"
        raise InputError(str(path), expected="a saved Keras model", received=kind)
    return model


def _saved_by(path: Path) -> int:
    """Return the version of Keras that saved a model: 3 if the file says so."""
    named = "2"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, contextlib.suppress(KeyError, ValueError):
            named = json.loads(archive.read("metadata.json"))["keras_version"]
    elif path.suffix in (".h5", ".hdf5"):
        import h5py

        with contextlib.suppress(OSError, KeyError), h5py.File(path) as file:
            named = file.attrs["keras_version"]
    return 3 if str(named).startswith("3") else 2
