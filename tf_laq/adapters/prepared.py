"""Layers that another tool has prepared: their weights are not the network's own, so they are refused with the cure."""

from __future__ import annotations

from typing import Any

from tf_laq.errors import InputError

_PRUNED = "pruned", "Take the wrappers off first: tfmot.sparsity.keras.strip_pruning(model)."
_CLUSTERED = "clustered", "Take the wrappers off first: tfmot.clustering.keras.strip_clustering(model)."
_QUANTIZED = "quantized", "Start from the float model, before quantize_annotate_layer or quantize_model."
_TFMOT = {
    "PruneLowMagnitude": _PRUNED,
    "ClusterWeights": _CLUSTERED,
    "ClusterWeightsMHA": _CLUSTERED,
    "ClusterWeightsRNN": _CLUSTERED,
    "QuantizeAnnotate": _QUANTIZED,
    "QuantizeLayer": _QUANTIZED,
    "QuantizeWrapper": _QUANTIZED,
    "QuantizeWrapperV2": _QUANTIZED,
}


def check_unprepared(path: str, layer: Any) -> None:
    """Check that no tool has prepared a layer or one in it: Keras 3 (int8, int4, LoRA, ...) or TFMOT.

    Args:
        path: Path of the layer in its model.
        layer: The layer.

    Raises:
        InputError: One has.
    """
    for part in layer._flatten_layers():
        prepared = _preparation(part)
        if prepared:
            received, remedy = prepared
            raise InputError(
                f"layer {path!r}",
                expected="a layer with float weights of its own",
                received=f"{type(part).__name__} {part.name!r}, {received}",
                remedy=remedy,
            )


def _preparation(layer: Any) -> tuple[str, str] | None:
    """Return what was done to a layer and the cure, or None."""
    # By name, since importing TFMOT has effects of its own.
    kind = type(layer)
    if kind.__module__.startswith("tensorflow_model_optimization.") and kind.__name__ in _TFMOT:
        done, remedy = _TFMOT[kind.__name__]
        return f"which TFMOT has {done}", remedy
    if hasattr(layer.dtype_policy, "quantization_mode") and layer.quantization_mode:
        done = f"which Keras has quantized ({layer.quantization_mode})"
        return done, "Start from the float model, before model.quantize(...)."
    if getattr(layer, "lora_enabled", False):
        return (
            "with LoRA enabled",
            "Keras merges LoRA into the kernels when it saves: call model.save_weights(path), and then "
            "load_weights(path) on the same model made without LoRA.",
        )
    return None
