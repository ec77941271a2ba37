"""How tf_keras models are wrapped."""

from __future__ import annotations

from typing import Any

import tf_keras

from tf_laq.adapters.base import Adapter, Weights
from tf_laq.adapters.keras2.quantize_config import WeightOnlyConfig, WeightQuantizer
from tf_laq.adapters.keras2.wrapper import QuantizeWrapper
from tf_laq.errors import InputError


class Keras2Adapter(Adapter):
    """Wraps layers; subclassed models cannot be wrapped."""

    keras = tf_keras
    wrapper = QuantizeWrapper
    wrappers = (QuantizeWrapper,)

    def is_functional(self, model: Any) -> bool:
        """Return whether a model is a functional one."""
        return bool(getattr(model, "_is_graph_network", False))

    def wrap_whole(self, model: Any, weights: Weights) -> Any:
        """Refuse a subclassed model: TFMOT's wrappers are for layers."""
        raise InputError(
            "model",
            expected="a Sequential or functional model (only these can be rebuilt with wrapped layers)",
            received=f"the subclassed model {type(model).__name__} {model.name!r}, which has a call of its own",
            remedy="Use laq.bake(model, plan), or build the model with the functional API.",
        )

    def wrap_layer(self, layer: Any, weights: Weights, **options: Any) -> Any:
        """Return a wrapper that runs a layer with quantized weights; the options are arguments of a Keras layer."""
        if self.is_subclassed(layer):
            return self.wrap_whole(layer, weights)
        config = WeightOnlyConfig({path: WeightQuantizer(q.name, q.bits) for path, q in weights.items()})
        return QuantizeWrapper(layer, config, **options)

    def wrapped_weights(self, wrapper: Any) -> Weights:
        """Return the quantized weights of the layer in a wrapper."""
        return {path: weight.quantizer for path, weight in wrapper.quantize_config.weights.items()}

    def known_input_shape(self, model: Any) -> Any:
        """Return what Keras knows of a model's input shape, or None."""
        return getattr(model, "input_shape" if self._has_graph(model) else "_build_input_shape", None)
