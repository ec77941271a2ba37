"""TensorFlow Model Optimization, imported so that it leaves no trace in the process.

Importing TFMOT sets TF_USE_LEGACY_KERAS and looks at `tf.keras`; if nothing has done so before, that makes `tf.keras`
Keras 2 for the rest of the process. So during the import `tf.keras` is Keras 2, which is what TFMOT is after, and then
it is what it was: not even looked at, if nobody had.
"""

from __future__ import annotations

import os
import warnings

import tensorflow as tf
import tf_keras

_VARIABLE = "TF_USE_LEGACY_KERAS"
_before = os.environ.get(_VARIABLE)
_tf_keras_before = vars(tf)["keras"]
vars(tf)["keras"] = tf_keras
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
    vars(tf)["keras"] = _tf_keras_before
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
