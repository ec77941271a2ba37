"""The quantizers as TFMOT quantizers, and the TFMOT configuration that names which weights of a layer they act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tf_keras

from tf_laq import quantizers
from tf_laq.adapters import kernels, once
from tf_laq.adapters.keras2 import tfmot

_register = tf_keras.utils.register_keras_serializable(package="tf_laq")


@_register
class WeightQuantizer(tfmot.Quantizer):  # type: ignore[misc]
    """Any registered quantizer as a TFMOT quantizer; it keeps no state of its own.

    Args:
        method: Name of a registered quantizer.
        bits: Bit width.

    Raises:
        InputError: There is no such quantizer or bit width.
    """

    def __init__(self, method: str, bits: int) -> None:
        self.quantizer = quantizers.get(method, bits)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Return no variables: levels follow from the weights at every step."""
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        """Return the quantized weights with a straight-through gradient."""
        return once.quantize(inputs, inputs, self.quantizer)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"method": self.quantizer.name, "bits": self.quantizer.bits}


@_register
class LinearQuantizer(WeightQuantizer):
    """The linear quantizer for TFMOT configurations written by hand."""

    def __init__(self, bits: int) -> None:
        super().__init__(quantizers.Linear.name, bits)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"bits": self.quantizer.bits}


@_register
class LogQuantizer(WeightQuantizer):
    """The log quantizer for TFMOT configurations written by hand."""

    def __init__(self, bits: int) -> None:
        super().__init__(quantizers.Log.name, bits)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"bits": self.quantizer.bits}


@_register
class WeightOnlyConfig(tfmot.QuantizeConfig):  # type: ignore[misc]
    """Quantize the named weights of a layer and nothing else: no activations, no outputs.

    Args:
        weights: Attribute path of a weight in its layer ("kernel", "cell.recurrent_kernel") -> quantizer.

    Example:
        >>> WeightOnlyConfig({"kernel": LinearQuantizer(bits=4)}).get_config()["weights"]["kernel"]["config"]
        {'bits': 4}
    """

    def __init__(self, weights: Mapping[str, WeightQuantizer]) -> None:
        self.weights = dict(weights)

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, WeightQuantizer]]:
        """Return the variables of a built layer, each with its quantizer."""
        return [(kernels.attribute(layer, path), quantizer) for path, quantizer in self.weights.items()]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Put tensors or variables in the places of the weights."""
        for path, weight in zip(self.weights, quantize_weights, strict=True):
            owner, name = kernels.holder(layer, path)
            # Around Keras' own __setattr__, which would track the tensor or untrack the variable.
            vars(owner)[name] = weight

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """Return nothing: activations stay as they are."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Do nothing: activations stay as they are."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """Return nothing: outputs stay as they are."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        serialize = tf_keras.utils.legacy.serialize_keras_object
        return {"weights": {path: serialize(quantizer) for path, quantizer in self.weights.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightOnlyConfig:
        """Build the configuration from what `get_config` returned."""
        deserialize = tf_keras.utils.legacy.deserialize_keras_object
        return cls({path: deserialize(quantizer) for path, quantizer in config["weights"].items()})


class _SameLayout(tfmot.QuantizeLayoutTransform):  # type: ignore[misc]
    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        return model, layer_quantize_map


class _NothingElse(tfmot.QuantizeRegistry):  # type: ignore[misc]
    def supports(self, layer: Any) -> bool:
        return False

    def get_quantize_config(self, layer: Any) -> Any:
        return None


class WeightOnlyScheme(tfmot.QuantizeScheme):  # type: ignore[misc]
    """For `tfmot.quantization.keras.quantize_apply(model, scheme=WeightOnlyScheme())`.

    The default scheme of TFMOT adds activation quantizers and an untrained input quantizer, with which the model's
    outputs are zero until it is trained. This one quantizes the weights of the annotated layers, and that is all.
    """

    def get_layout_transformer(self) -> _SameLayout:
        """Return the transform that changes nothing."""
        return _SameLayout()

    def get_quantize_registry(self) -> _NothingElse:
        """Return the registry that knows no layer: only annotated ones are quantized."""
        return _NothingElse()
