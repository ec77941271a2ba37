"""The adapter for Keras 3 models on the TensorFlow backend.

Importing it registers `QuantizeWrapper` and `QuantizedModel` with Keras 3, so that saved quantized models load
without a custom-object scope.
"""

from tf_laq.keras3.convert import bake, float_twin, is_wrapped, strip, wrap
from tf_laq.keras3.inference import input_shape, logits
from tf_laq.keras3.kernels import find_weights
from tf_laq.keras3.wrapper import QuantizedModel, QuantizeWrapper

__all__ = [
    "QuantizeWrapper",
    "QuantizedModel",
    "bake",
    "find_weights",
    "float_twin",
    "input_shape",
    "is_wrapped",
    "logits",
    "strip",
    "wrap",
]
