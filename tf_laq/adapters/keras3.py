"""The adapter for Keras 3 models on the TensorFlow backend.

Importing it registers `QuantizeWrapper` and `QuantizedModel` with Keras 3, so that saved quantized models load
without a custom-object scope.

Keras 3 lets a call see other values in the place of its variables: `keras.StatelessScope`. So nothing is exchanged in
the wrapped layer, whatever its class, and the kernels inside of composite layers are reached too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tf_laq import quantizers
from tf_laq.adapters import kernels, once
from tf_laq.adapters.base import Adapter, Weights
from tf_laq.quantizers import Quantizer

_register = keras.saving.register_keras_serializable(package="tf_laq")


@_register
class QuantizeWrapper(keras.layers.Wrapper):  # type: ignore[misc]
    """A layer that runs another one with quantized weights; the gradient goes straight through to the float ones.

    The wrapper owns nothing: the inner layer builds itself and keeps its variables, its updates and its losses.

    Args:
        layer: The Keras 3 layer.
        weights: Attribute path of a weight in the layer ("kernel", "cell.recurrent_kernel") -> quantizer.
        **options: Arguments of a Keras layer; the default name is "quant_" and the layer's.

    Example:
        >>> layer = QuantizeWrapper(keras.layers.Dense(2, name="dense"), {"kernel": quantizers.get("linear", 4)})
        >>> layer.name, tuple(layer(keras.ops.ones((1, 3))).shape)
        ('quant_dense', (1, 2))
    """

    def __init__(self, layer: Any, weights: Weights, **options: Any) -> None:
        # The inner layer casts its inputs and its variables itself.
        super().__init__(layer, **{"name": f"quant_{layer.name}", "dtype": "float32", "autocast": False, **options})
        self.quantized_weights = dict(weights)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        """Do nothing: the inner layer builds itself at its first call, from all of its inputs."""

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the inner layer's output under quantized weights."""
        return _call_quantized(self, self.layer, self.quantized_weights, inputs, *args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return the shapes and types of the outputs; the levels of the weights have no part in them."""
        with once.shapes_only():
            return super().compute_output_spec(*args, **kwargs)

    @property
    def stateful(self) -> bool:
        """Whether the inner layer keeps a state from one call to the next."""
        return bool(getattr(self.layer, "stateful", False))

    def reset_state(self) -> None:
        """Let the inner layer begin again."""
        self.layer.reset_state()

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """Return the inner layer's mask."""
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        config = {**super().get_config(), "weights": _to_config(self.quantized_weights)}
        # Keras marks an object that is met again, as a layer that another one ties its weights to, but loses the mark
        # where the object was first met inside of another.
        config["layer"] = {**config["layer"], "shared_object_id": id(self.layer)}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizeWrapper:
        """Build the wrapper from what `get_config` returned."""
        return super().from_config({**config, "weights": _from_config(config["weights"])}, custom_objects)  # type: ignore[no-any-return]


@_register
class QuantizedModel(keras.Model):  # type: ignore[misc]
    """A subclassed model that runs with quantized weights: its layers cannot be exchanged one by one.

    Args:
        model: The Keras 3 model, built.
        weights: Attribute path of a weight in the model ("layers.0.kernel") -> quantizer.
        **options: Arguments of a Keras model; the default name is "quant_" and the model's.
    """

    def __init__(self, model: Any, weights: Weights, **options: Any) -> None:
        super().__init__(**{"name": f"quant_{model.name}", "dtype": "float32", "autocast": False, **options})
        self.model = model
        self.quantized_weights = dict(weights)
        # There is nothing to build beside the model, so the first call need not come before saving.
        self.built = bool(model.built)

    @property
    def layer(self) -> Any:
        """The model, by the name that it has in `QuantizeWrapper`."""
        return self.model

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output under quantized weights."""
        return _call_quantized(self, self.model, self.quantized_weights, inputs, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "weights": _to_config(self.quantized_weights),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizedModel:
        """Build the model from what `get_config` returned."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**{**config, "model": model, "weights": _from_config(config["weights"])})


def _call_quantized(wrapper: Any, inner: Any, weights: Weights, *args: Any, **kwargs: Any) -> Any:
    """Return the result of a call during which variables have quantized values.

    A scope keeps what is assigned to variables (moving averages, random states) and the losses to itself, so both are
    handed on. All variables are put into it, since it hides the values that a scope around it gives them.
    """
    if not kernels.has_weights(inner, weights):
        # Layers may create weights no sooner than in their first call; its result is not used.
        inner(*args, **kwargs)
    quantized = {id(kernels.attribute(inner, path)): quantizer for path, quantizer in weights.items()}
    values = [(variable, keras.ops.convert_to_tensor(variable.value)) for variable in inner.variables]
    scope = keras.StatelessScope(
        state_mapping=[
            (v, once.quantize(x, v.value, quantized[id(v)]) if id(v) in quantized else x) for v, x in values
        ],
        collect_losses=True,
    )
    given = [(variable, scope.get_current_value(variable)) for variable, _ in values if id(variable) not in quantized]
    with scope:
        outputs = inner(*args, **kwargs)
    for variable, value in given:
        if scope.get_current_value(variable) is not value:
            variable.assign(scope.get_current_value(variable))
    if scope.losses:
        wrapper.add_loss(scope.losses)
    return outputs


def _to_config(weights: Weights) -> dict[str, dict[str, Any]]:
    return {path: {"method": q.name, "bits": q.bits} for path, q in weights.items()}


def _from_config(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Quantizer]:
    return {path: quantizers.get(setting["method"], setting["bits"]) for path, setting in config.items()}


class Keras3Adapter(Adapter):
    """Wraps layers, and subclassed models as a whole."""

    keras = keras
    wrapper = QuantizeWrapper
    wrappers = (QuantizeWrapper, QuantizedModel)

    def is_functional(self, model: Any) -> bool:
        """Return whether a model is a functional one."""
        return hasattr(model, "operations")

    def wrap_whole(self, model: Any, weights: Weights) -> Any:
        """Return a trainable model that runs a subclassed one with quantized weights."""
        return QuantizedModel(model, weights)

    def wrap_layer(self, layer: Any, weights: Weights, **options: Any) -> Any:
        """Return a wrapper that runs a layer with quantized weights; the options are arguments of a Keras layer."""
        return QuantizeWrapper(layer, weights, **options)

    def wrapped_weights(self, wrapper: Any) -> Weights:
        """Return the quantized weights of the layer in a wrapper."""
        return dict(wrapper.quantized_weights)

    def float_twin(self, model: Any) -> Any:
        """Return the float network underneath a wrapped model, with the same variables."""
        return model.layer if isinstance(model, QuantizedModel) else super().float_twin(model)

    def known_input_shape(self, model: Any) -> Any:
        """Return what Keras knows of a model's input shape, or None."""
        plain = model.layer if isinstance(model, QuantizedModel) else model
        if self._has_graph(plain):
            return plain.input_shape
        shape = (plain.get_build_config() or {}).get("input_shape")
        # From a file it is a list.
        return tuple(shape) if isinstance(shape, list) and shape and not isinstance(shape[0], list) else shape


ADAPTER = Keras3Adapter()
