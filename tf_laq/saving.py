"""Keras models as files: saved whole or not at all, and loaded with quantized layers known."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from tf_laq import files
from tf_laq.errors import InputError


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a tf_keras model to a `.keras` file, whole or not at all.

    Raises:
        InputError: The path does not end in ".keras" or cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise InputError("path", expected='a file name that ends in ".keras"', received=repr(str(path)))
    with files.replacing(path) as temporary:
        model.save(temporary)


def load_model(path: str | os.PathLike[str]) -> Any:
    """Load a tf_keras model, quantized or not, from a `.keras` or `.h5` file or a SavedModel folder.

    The model is not compiled.

    Raises:
        InputError: There is no such file, or tf_keras cannot load it.
    """
    import tf_keras

    import tf_laq.keras2  # noqa: F401  (registers the wrapper and its quantizers)

    if not Path(path).exists():
        raise InputError(str(path), expected="a saved tf_keras model", received="no such file")
    try:
        with warnings.catch_warnings():
            # An optimizer's state that no one will use; TensorFlow warns that it is not restored.
            warnings.simplefilter("ignore")
            model = tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # Each of the three formats fails in ways of its own.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            str(path),
            expected="a model saved by tf_keras (Keras 2): a .keras or .h5 file or a SavedModel folder",
            received=f"something it cannot load ({reason.strip()})",
            remedy="It may be truncated, saved by Keras 3, or need a custom class that is not registered.",
        ) from error
    if not isinstance(model, tf_keras.Model):
        kind = f"a {type(model).__name__} without layers"
        raise InputError(str(path), expected="a saved tf_keras model", received=kind)
    return model
