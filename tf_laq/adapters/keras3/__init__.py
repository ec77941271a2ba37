"""The adapter for Keras 3 models on the TensorFlow backend.

Importing it registers `QuantizeWrapper` and `QuantizedModel` with Keras 3, so that saved quantized models load
without a custom-object scope.
"""

from tf_laq.adapters.keras3.adapter import Keras3Adapter
from tf_laq.adapters.keras3.wrapper import QuantizedModel, QuantizeWrapper

ADAPTER = Keras3Adapter()

__all__ = [
    "ADAPTER",
    "Keras3Adapter",
    "QuantizeWrapper",
    "QuantizedModel",
]
