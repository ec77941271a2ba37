"""The adapter for Keras 3 models on the TensorFlow backend.

Importing it registers `QuantizeWrapper` and `QuantizedModel` with Keras 3, so that saved quantized models load
without a custom-object scope.
"""

from tf_laq.keras3.convert import Keras3Conversion
from tf_laq.keras3.wrapper import QuantizedModel, QuantizeWrapper

_conversion = Keras3Conversion()
find_weights, wrap, bake = _conversion.find_weights, _conversion.wrap, _conversion.bake
is_wrapped, strip = _conversion.is_wrapped, _conversion.strip
logits, input_shape = _conversion.logits, _conversion.input_shape

__all__ = [
    "QuantizeWrapper",
    "QuantizedModel",
    "bake",
    "find_weights",
    "input_shape",
    "is_wrapped",
    "logits",
    "strip",
    "wrap",
]
