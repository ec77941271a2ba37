"""TensorFlow Model Optimization, imported so that it leaves no trace in the process.

Importing TFMOT sets TF_USE_LEGACY_KERAS and looks at `tf.keras`; if nothing has done so before, that makes `tf.keras`
Keras 2 for the rest of the process. So during the import `tf.keras` is Keras 2, which is what TFMOT is after, and then
it is what it was: not even looked at, if nobody had. A user who imports TFMOT later gets what the import always does.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import sys
import warnings
from typing import Any

import tensorflow as tf
import tf_keras

_TFMOT = "tensorflow_model_optimization"
_VARIABLE = "TF_USE_LEGACY_KERAS"


class _AtTheUsersImport(importlib.abc.MetaPathFinder):
    """Finds nothing; when somebody imports TFMOT, runs again what in it sets the variable and looks at `tf.keras`."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Let the import go on; on the first one of TFMOT, repeat its effect before."""
        if fullname == _TFMOT:
            sys.meta_path.remove(self)
            importlib.reload(importlib.import_module(f"{_TFMOT}.python.core.keras.compat"))


_imported_before = _TFMOT in sys.modules
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
if not _imported_before:
    # Its modules stay, so that the user's classes are ours. The package itself will be imported again, which is seen.
    del sys.modules[_TFMOT]
    sys.meta_path.insert(0, _AtTheUsersImport())

__all__ = [
    "QuantizeConfig",
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapperV2",
    "Quantizer",
]
