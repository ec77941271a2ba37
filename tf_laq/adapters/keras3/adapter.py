"""How Keras 3 models are copied and wrapped."""

from __future__ import annotations

from typing import Any

import keras

from tf_laq.adapters.base import Adapter, Weights, quantize_weights
from tf_laq.adapters.keras3.wrapper import QuantizedModel, QuantizeWrapper
from tf_laq.quantizers import Quantizer


class Keras3Adapter(Adapter):
    """Copies layers and subclassed models by their configuration, and wraps both."""

    keras = keras
    wrapper = QuantizeWrapper
    wrappers = (QuantizeWrapper, QuantizedModel)

    def is_functional(self, model: Any) -> bool:
        """Return whether a model is a functional one."""
        return hasattr(model, "operations")

    def duplicate(self, layer: Any, **changes: Any) -> Any:
        """Return a new layer with the layer's configuration, or a changed one, and fresh weights."""
        # A Python function in a layer of the running program is no risk, as one in a file would be.
        trusted = {"safe_mode": False} if isinstance(layer, keras.layers.Lambda) else {}
        return type(layer).from_config({**layer.get_config(), **changes}, **trusted)

    def copy_weights(self, source: Any, target: Any) -> None:
        """Give a layer the weights of another one of the same kind, the states of random generators included."""
        for given, variable in zip(getattr(source, "variables", ()), getattr(target, "variables", ()), strict=True):
            variable.assign(given)
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()

    def copy_whole(self, model: Any) -> Any:
        """Return a copy of a subclassed model with its weights; it may raise anything."""
        twin = type(model).from_config(model.get_config())
        twin.build_from_config(model.get_build_config())
        self.copy_weights(model, twin)
        twin.built = model.built  # Keras leaves it unset where the class has no method build.
        return twin

    def wrap_whole(self, model: Any, weights: Weights) -> Any:
        """Return a trainable copy of a subclassed model that computes with quantized weights."""
        return QuantizedModel(self.copy_subclassed(model), weights)

    def wrap_layer(self, layer: Any, weights: Weights, **options: Any) -> Any:
        """Return a wrapper that runs a layer with quantized weights; the options are arguments of a Keras layer."""
        return QuantizeWrapper(layer, weights, **options)

    def wrapped_weights(self, wrapper: Any) -> Weights:
        """Return the quantized weights of the layer in a wrapper."""
        return dict(wrapper.quantized_weights)

    def quantized_weights(self, model: Any) -> dict[tuple[str, str], Quantizer]:
        """Return layer path and weight path -> quantizer, for all weights that a wrapped model quantizes."""
        if not isinstance(model, QuantizedModel):
            return super().quantized_weights(model)
        found = {}
        for path, place in self.kinds.places(model.model):
            for at, quantizer in model.quantized_weights.items():
                weight = at.removeprefix(f"{place}.")
                if weight != at and not weight.startswith("layers."):
                    found[path, weight] = quantizer
        return found

    def strip(self, model: Any) -> Any:
        """Return a wrapped model as a plain one with quantized values as weights; its outputs are the same bits."""
        if not isinstance(model, QuantizedModel):
            return super().strip(model)
        twin = self.copy_subclassed(model.model)
        quantize_weights(twin, model.quantized_weights)
        return twin

    def float_twin(self, model: Any) -> Any:
        """Return the float network underneath a wrapped model, with the same variables."""
        return model.model if isinstance(model, QuantizedModel) else super().float_twin(model)

    def known_input_shape(self, model: Any) -> Any:
        """Return what Keras knows of a model's input shape, or None."""
        plain = model.model if isinstance(model, QuantizedModel) else model
        return plain.input_shape if self._is_graph(plain) else (plain.get_build_config() or {}).get("input_shape")
