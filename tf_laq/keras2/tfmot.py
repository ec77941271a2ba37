"""TensorFlow Model Optimization, imported so that it leaves no trace in the process.

Importing TFMOT sets TF_USE_LEGACY_KERAS, and if nothing has touched `tf.keras` before, `tf.keras` becomes Keras 2 for
the rest of the process. Touching it first and putting the variable back keeps both as the user has them.
"""

from __future__ import annotations

import os
import warnings

import tensorflow as tf

_VARIABLE = "TF_USE_LEGACY_KERAS"
_before = os.environ.get(_VARIABLE)
tf.keras.layers  # noqa: B018
try:
    with warnings.catch_warnings():
        # It compares versions with distutils.
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import (
            QuantizeConfig,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_layout_transform import (
            QuantizeLayoutTransform,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_registry import (
            QuantizeRegistry,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_scheme import (
            QuantizeScheme,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
            QuantizeWrapperV2,
        )
        from tensorflow_model_optimization.quantization.keras.quantizers import Quantizer
finally:
    if _before is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = _before

__all__ = [
    "QuantizeConfig",
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapperV2",
    "Quantizer",
]
