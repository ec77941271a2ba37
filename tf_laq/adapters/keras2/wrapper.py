"""The layer wrapper that computes with quantized weights and trains the float ones."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf
import tf_keras

from tf_laq.adapters import kernels
from tf_laq.adapters.keras2 import tfmot


@tf_keras.utils.register_keras_serializable(package="tf_laq")
class QuantizeWrapper(tfmot.QuantizeWrapperV2):  # type: ignore[misc]
    """Runs a layer with its weights replaced by quantized tensors, and puts the variables back.

    It differs from TFMOT's own wrapper, which loses or corrupts weights in several ways, in that it owns nothing: the
    inner layer builds itself, keeps its variables, its `trainable` flag, its losses and their order, and is called as
    a whole (`layer(...)`, not `layer.call(...)`). It can therefore be saved and loaded in every format.

    Args:
        layer: The tf_keras layer.
        quantize_config: A `WeightOnlyConfig`.
        **kwargs: Arguments of a Keras layer; the default name is "quant_" and the layer's.
    """

    def __init__(self, layer: Any, quantize_config: Any, **kwargs: Any) -> None:
        # The inner layer casts its inputs itself.
        super().__init__(layer, quantize_config, **{"autocast": False, **kwargs})

    def build(self, input_shape: Any) -> None:
        """Mark the wrapper as built; the inner layer builds itself at its first call."""
        tf_keras.layers.Layer.build(self, input_shape)

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the inner layer's output under quantized weights."""
        accepted = inspect.signature(self.layer.call).parameters
        # Keras hands `mask` and `training` to every wrapper; an inner layer need not know them.
        for name in ("mask", "training"):
            if name not in accepted:
                kwargs.pop(name, None)
        if not kernels.has_weights(self.layer, self.quantize_config.weights):
            # Layers may create weights no sooner than in their first call; its result is not used.
            self.layer(inputs, *args, **kwargs)
        pairs = self.quantize_config.get_weights_and_quantizers(self.layer)
        variables = [variable for variable, _ in pairs]
        quantized = [self._quantize(variable, quantizer) for variable, quantizer in pairs]
        self.quantize_config.set_quantize_weights(self.layer, quantized)
        try:
            return self.layer(inputs, *args, **kwargs)
        finally:
            self.quantize_config.set_quantize_weights(self.layer, variables)

    def reset_states(self) -> None:
        """Let the inner layer begin again."""
        self.layer.reset_states()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the inner layer's output shape."""
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the inner layer's mask."""
        return self.layer.compute_mask(inputs, mask)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizeWrapper:
        """Build the wrapper from what `get_config` returned."""
        inner = config["layer"]
        # The loaders of .h5 files and SavedModels go by the name of the class alone.
        inner = {**inner, "class_name": inner.get("registered_name") or inner["class_name"]}
        legacy = "module" not in inner
        layer = tf_keras.layers.deserialize(inner, custom_objects=custom_objects, use_legacy_format=legacy)
        if not isinstance(layer, tf_keras.layers.Layer):  # Keras returns the name of a class that it does not know.
            raise ValueError(f"Unknown layer: '{inner['class_name']}'.")
        deserialize = tf_keras.utils.legacy.deserialize_keras_object
        quantize_config = deserialize(config["quantize_config"], custom_objects=custom_objects)
        return cls(**{**config, "layer": layer, "quantize_config": quantize_config})

    @property
    def trainable_weights(self) -> list[Any]:
        """The inner layer's."""
        return list(self.layer.trainable_weights)

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The inner layer's."""
        return list(self.layer.non_trainable_weights)

    # AutoGraph has nothing to convert in a quantizer, and takes longer to find out than the quantizer takes to trace.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _quantize(self, variable: Any, quantizer: Any) -> Any:
        wide = kernels.wide_variable(variable)
        quantized = quantizer(wide, training=None, weights={})
        # Under mixed precision as the layer would read it.
        return quantized if wide is variable else tf.cast(quantized, self.layer.compute_dtype)
