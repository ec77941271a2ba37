"""The networks of the paper and two small ones, to build with fresh weights or to load trained."""

from __future__ import annotations

from tf_laq.models.networks import build, input_shape, names, options_of
from tf_laq.models.pretrained import load, trained

__all__ = ["build", "input_shape", "load", "names", "options_of", "trained"]
