"""The adapter for tf_keras (Keras 2) models, through TensorFlow Model Optimization.

Importing it registers `QuantizeWrapper`, its configuration and the quantizers with tf_keras, so that saved quantized
models load without a custom-object scope.
"""

from tf_laq.adapters.keras2.adapter import Keras2Adapter
from tf_laq.adapters.keras2.quantize_config import (
    LinearQuantizer,
    LogQuantizer,
    WeightOnlyConfig,
    WeightOnlyScheme,
    WeightQuantizer,
)
from tf_laq.adapters.keras2.wrapper import QuantizeWrapper

ADAPTER = Keras2Adapter()

__all__ = [
    "ADAPTER",
    "Keras2Adapter",
    "LinearQuantizer",
    "LogQuantizer",
    "QuantizeWrapper",
    "WeightOnlyConfig",
    "WeightOnlyScheme",
    "WeightQuantizer",
]
