"""The seam between tf_laq and the versions of Keras: everything else sees models through an `Adapter` only."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
