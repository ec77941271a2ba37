"""Keras models as files: saved whole or not at all, and loaded with quantized layers known."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

from tf_laq._internal import files
from tf_laq.adapters.carrying import carry, plan_of
from tf_laq.adapters.dispatch import keras_module, load_adapter
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan

# A file in the archive beside those of Keras, which reads only its own.
_PLAN = "tf_laq_plan.json"


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a Keras model to a `.keras` file, with the plan that it was quantized by, whole or not at all.

    Raises:
        InputError: The path does not end in ".keras" or cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise InputError("path", expected='a file name that ends in ".keras"', received=repr(str(path)))
    plan = plan_of(model)
    with files.replacing(path) as temporary:
        model.save(temporary)
        if plan is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_PLAN, plan.to_json())


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
    load_adapter(version)
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
    return carry(model, _saved_plan(Path(path)))


def _saved_plan(path: Path) -> QuantizationPlan | None:
    """Return the plan that `save_model` put into a file, or None."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if _PLAN not in archive.namelist():
            return None
        return QuantizationPlan.from_json(archive.read(_PLAN).decode(), source=f"{path}, {_PLAN}")


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
