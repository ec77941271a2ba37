"""Attacks on image classifiers: one a module, found by name, gathered in batteries.

    >>> from tf_laq import attacks
    >>> attacks.get("fgsm", epsilon=0.25)
    FGSM(epsilon=0.25, norm='linf')

An attack needs a callable from images to logits and nothing else. The classes are also attributes of this
package (`attacks.PGD`), imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from tf_laq.attacks.registry import CLASSES, from_dict, get, names

_LAZY = {attribute: module for module, attribute in CLASSES.values()} | {
    "Attack": "base",
    "Battery": "battery",
    "Column": "battery",
}

__all__ = [*_LAZY, "from_dict", "get", "names"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"tf_laq.attacks.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
