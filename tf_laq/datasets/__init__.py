"""Images and labels: data sets by name, files and folders of images, and arrays, each in three parts."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
