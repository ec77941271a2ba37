"""The adapter for tf_keras (Keras 2) models, through TensorFlow Model Optimization.

Importing it registers `QuantizeWrapper`, its configuration and the quantizers with tf_keras, so that saved quantized
models load without a custom-object scope.
"""

from tf_laq.keras2.convert import TfKerasConversion
from tf_laq.keras2.quantize_config import LinearQuantizer, LogQuantizer, WeightOnlyConfig, WeightQuantizer
from tf_laq.keras2.scheme import WeightOnlyScheme
from tf_laq.keras2.wrapper import QuantizeWrapper

_conversion = TfKerasConversion()
find_weights, wrap, bake = _conversion.find_weights, _conversion.wrap, _conversion.bake
is_wrapped, strip = _conversion.is_wrapped, _conversion.strip
logits, input_shape = _conversion.logits, _conversion.input_shape

__all__ = [
    "LinearQuantizer",
    "LogQuantizer",
    "QuantizeWrapper",
    "WeightOnlyConfig",
    "WeightOnlyScheme",
    "WeightQuantizer",
    "bake",
    "find_weights",
    "input_shape",
    "is_wrapped",
    "logits",
    "strip",
    "wrap",
]
