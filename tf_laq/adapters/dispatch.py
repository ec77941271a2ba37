"""From a model to the version of Keras that it is of, and to the adapter for that."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from tf_laq._internal.optional import of_extra
from tf_laq.errors import InputError

if TYPE_CHECKING:
    from tf_laq.adapters.base import Adapter


def keras_module(version: int) -> Any:
    """Return the module of a version of Keras: `tf_keras` for 2, `keras` for 3.

    Raises:
        InputError: It is another version, or Keras 3 runs on another backend than TensorFlow.
    """
    if version not in (2, 3):
        raise InputError("keras", expected="2 or 3", received=repr(version))
    if version == 2:
        with of_extra("keras2"):
            return importlib.import_module("tf_keras")
    module = importlib.import_module("keras")
    if module.backend.backend() != "tensorflow":
        raise InputError(
            "keras",
            expected="Keras 3 on the TensorFlow backend",
            received=f"the backend {module.backend.backend()}",
            remedy="Set KERAS_BACKEND=tensorflow before keras is imported.",
        )
    return module


def keras_version(model: Any) -> int:
    """Return the version of Keras that a model is of, 2 or 3, by the module its class comes from.

    `tf.keras` is not looked at: asking for it would decide which Keras it is.

    Raises:
        InputError: It is no Keras model.
    """
    if not is_keras_model(model):
        raise InputError("model", expected="a tf_keras or Keras 3 model", received=f"a {type(model).__name__}")
    return 2 if "tf_keras" in _origins(model) else 3


def adapter_of(model: Any) -> Adapter:
    """Return the adapter for a model.

    Raises:
        InputError: It is no Keras model, or one of Keras 3 on another backend than TensorFlow.
    """
    version = keras_version(model)
    keras_module(version)
    return load_adapter(version)


def load_adapter(version: int) -> Adapter:
    """Return the adapter for a version of Keras, 2 or 3; its layers are registered with that Keras from then on."""
    with of_extra("keras2") if version == 2 else contextlib.nullcontext():
        adapter: Adapter = importlib.import_module(f"tf_laq.adapters.keras{version}").ADAPTER
    return adapter


def is_keras_model(model: Any) -> bool:
    """Return whether the object is a model of some version of Keras."""
    return bool(_origins(model) & {"keras", "tf_keras"}) and hasattr(model, "layers")


def _origins(model: Any) -> set[str]:
    return {cls.__module__.split(".")[0] for cls in type(model).__mro__}


def logits_function(model: Any) -> Callable[[Any], Any]:
    """Return a Keras model as a function from images to logits in inference mode; other callables as they are.

    Raises:
        InputError: It is neither, or a Keras model whose logits cannot be reached.
    """
    if is_keras_model(model):
        return adapter_of(model).logits(model)
    if callable(model):
        return cast(Callable[[Any], Any], model)
    raise InputError("model", expected="a Keras model or a function to logits", received=f"a {type(model).__name__}")


def logits_of_arrays(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function from NumPy images to NumPy logits as one of tensors, eagerly and in graphs.

    Attacks that only read outputs can then run on it; it has no gradient.
    """
    import numpy as np
    import tensorflow as tf

    def as_float32(images: Any) -> Any:
        outputs = np.asarray(function(images), np.float32)
        return outputs.reshape(len(outputs), -1)

    def images_to_logits(images: Any) -> Any:
        outputs = tf.numpy_function(as_float32, [images], tf.float32)
        outputs.set_shape([images.shape[0], None])
        return outputs

    return images_to_logits
