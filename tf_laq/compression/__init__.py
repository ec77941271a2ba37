"""From a model, data and a size to the file to ship: candidates, real files, a race under attack, a recommendation."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
