"""The seam between tf_laq and the versions of Keras: everything else sees models through an `Adapter` only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from tf_laq.errors import InputError
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.sensitivity import WeightTensor


class Adapter(Protocol):
    """What tf_laq needs from a version of Keras; a module with these functions is one."""

    def find_weights(self, model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
        """Return the weight tensors that can be quantized, and the layers left alone with the reasons."""

    def wrap(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a trainable model that computes with quantized weights."""

    def bake(self, model: Any, plan: QuantizationPlan) -> Any:
        """Return a plain model with quantized values as weights."""

    def is_wrapped(self, model: Any) -> bool:
        """Return whether `wrap` made the model."""

    def strip(self, model: Any) -> Any:
        """Return a wrapped model as a plain one with quantized values as weights."""

    def logits(self, model: Any) -> Callable[[Any], Any]:
        """Return the model as a function from images to logits in inference mode."""

    def input_shape(self, model: Any) -> tuple[int | None, ...]:
        """Return the shape of the model's one input, the batch axis first."""


def adapter_of(model: Any) -> Adapter:
    """Return the adapter for a model, by the module its class comes from; `tf.keras` is not looked at.

    Raises:
        InputError: It is a Keras 3 model, or no Keras model at all.
    """
    origins = {cls.__module__.split(".")[0] for cls in type(model).__mro__}
    if "tf_keras" in origins and hasattr(model, "layers"):
        from tf_laq import keras2

        return cast(Adapter, keras2)
    if "keras" in origins and hasattr(model, "layers"):
        raise InputError(
            "model",
            expected="a tf_keras (Keras 2) model",
            received=f"the Keras 3 model {type(model).__name__} {model.name!r}",
            remedy="Build it with `import tf_keras as keras` in place of `import keras`, and copy the weights with "
            "new.set_weights(old.get_weights()); neither an environment variable nor an import order is needed.",
        )
    raise InputError("model", expected="a tf_keras model", received=f"a {type(model).__name__}")


def is_keras_model(model: Any) -> bool:
    """Return whether the object is a model of some version of Keras."""
    origins = {cls.__module__.split(".")[0] for cls in type(model).__mro__}
    return bool(origins & {"keras", "tf_keras"}) and hasattr(model, "layers")


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
        return np.asarray(function(images), np.float32)

    def images_to_logits(images: Any) -> Any:
        outputs = tf.numpy_function(as_float32, [images], tf.float32)
        outputs.set_shape([images.shape[0], None])
        return outputs

    return images_to_logits
