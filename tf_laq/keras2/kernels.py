"""The kernels of tf_keras layers."""

from __future__ import annotations

import tf_keras

from tf_laq.kernels import LayerKinds, attribute, holder, values

_kinds = LayerKinds(tf_keras)
copy_names, find_weights, settings, walk = _kinds.copy_names, _kinds.find_weights, _kinds.settings, _kinds.walk

__all__ = ["attribute", "copy_names", "find_weights", "holder", "settings", "values", "walk"]
