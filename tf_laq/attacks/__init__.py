"""Attacks on image classifiers: one a module, found by name, gathered in batteries.

    >>> from tf_laq import attacks
    >>> attacks.get("fgsm", epsilon=0.25)
    FGSM(epsilon=0.25, norm='linf')

An attack needs a callable from images to logits and nothing else.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
