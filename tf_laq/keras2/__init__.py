"""The adapter for tf_keras (Keras 2) models, through TensorFlow Model Optimization.

Importing it registers `QuantizeWrapper`, its configuration and the quantizers with tf_keras, so that saved quantized
models load without a custom-object scope.
"""

from tf_laq.keras2.convert import bake, float_twin, is_wrapped, strip, wrap
from tf_laq.keras2.inference import input_shape, logits
from tf_laq.keras2.kernels import find_weights
from tf_laq.keras2.quantize_config import LinearQuantizer, LogQuantizer, WeightOnlyConfig, WeightQuantizer
from tf_laq.keras2.scheme import WeightOnlyScheme
from tf_laq.keras2.wrapper import QuantizeWrapper

__all__ = [
    "LinearQuantizer",
    "LogQuantizer",
    "QuantizeWrapper",
    "WeightOnlyConfig",
    "WeightOnlyScheme",
    "WeightQuantizer",
    "bake",
    "find_weights",
    "float_twin",
    "input_shape",
    "is_wrapped",
    "logits",
    "strip",
    "wrap",
]
