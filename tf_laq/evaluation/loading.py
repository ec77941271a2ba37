"""What can be evaluated, as a function from inputs to outputs: models in memory, and those in files and folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import tensorflow as tf

from tf_laq._internal.unreadable import Remedies
from tf_laq.adapters import is_keras_model
from tf_laq.errors import InputError
from tf_laq.tflite.running import is_tflite

_BY_PATH = Remedies(
    unknown="Give the model in place of its path: laq.load_model(path, custom_objects={{'{name}': {name}}}).",
    unsafe="To load it may run code that came with it. If you trust it, give what "
    "laq.load_model(path, safe_mode=False) or tf.saved_model.load(path) returns.",
)


def loaded(model: Any) -> Any:
    """Return a model as it is, and the path of one as the model in it.

    A file that ends in .tflite, .tflite.gz or .tflite.xz is a TensorFlow Lite file, any other a Keras model.

    Raises:
        InputError: There is no such file, it cannot be loaded, or loading it may run code that is in it.
    """
    if not isinstance(model, (str, os.PathLike)):
        return model
    path = Path(model)
    if is_tflite(path):
        from tf_laq import tflite

        return tflite.load(path)
    from tf_laq.saving import read_model

    return read_model(path, remedies=_BY_PATH)


def function_of(model: Any, subject: str) -> Callable[[Any], Any]:
    """Return a model that is not one of Keras as a function from inputs to outputs.

    A SavedModel is run by its serving signature, or the only one.

    Raises:
        InputError: It is neither a function nor a SavedModel with one input of any number of images.
    """
    signatures = getattr(model, "signatures", None)
    if signatures and not is_keras_model(model):
        return _serving(model, signatures, subject)
    if not callable(model):
        expected = "a Keras model, a function to logits, a SavedModel, or the path of a file or folder"
        raise InputError(subject, expected=expected, received=f"a {type(model).__name__}")
    return cast(Callable[[Any], Any], model)


def _serving(model: Any, signatures: Any, subject: str) -> Callable[[Any], Any]:
    names = list(signatures)
    name = "serving_default" if "serving_default" in names else names[0]
    function = signatures[name]
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        received = f"{len(inputs)} inputs: {', '.join(inputs) or 'none'}"
        raise InputError(subject, expected="a SavedModel with one input", received=received)
    ((argument, spec),) = inputs.items()
    if spec.shape.rank is not None and spec.shape[0] is not None:
        raise InputError(
            subject,
            expected="a SavedModel that takes any number of images",
            received=f"one that takes {spec.shape[0]} at a time",
            remedy="Save it with an input whose first side is None.",
        )

    def images_to_outputs(images: Any) -> Any:
        # The function does not keep the variables of the model alive.
        assert model is not None
        return function(**{argument: tf.cast(images, spec.dtype)})

    return images_to_outputs
