"""Training of Keras models: against attacks, near their decision boundary, and under quantization."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
