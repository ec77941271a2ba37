"""A TFMOT scheme for people who annotate layers by hand: weights only, and the layout of the model untouched."""

from __future__ import annotations

from typing import Any

from tf_laq.adapters.keras2 import tfmot


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
