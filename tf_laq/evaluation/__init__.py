"""Robust accuracy: run a battery of attacks on models, and read the report."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
