"""The kernels of Keras 3 layers."""

from __future__ import annotations

import keras

from tf_laq.kernels import LayerKinds, attribute, values

_kinds = LayerKinds(keras)
copy_names, find_weights, settings, walk = _kinds.copy_names, _kinds.find_weights, _kinds.settings, _kinds.walk

__all__ = ["attribute", "copy_names", "find_weights", "settings", "values", "walk"]
