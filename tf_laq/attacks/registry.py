"""Attacks by name; each is imported only when it is asked for."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from tf_laq._internal.validation import one_of
from tf_laq.errors import InputError

if TYPE_CHECKING:
    from tf_laq.attacks.base import Attack

CLASSES = {
    "clean": ("clean", "Clean"),
    "cw_l2": ("carlini_wagner", "CarliniWagner"),
    "ddn": ("ddn", "DDN"),
    "fgsm": ("fgsm", "FGSM"),
    "pgd": ("pgd", "PGD"),
    "bim": ("bim", "BIM"),
    "mim": ("mim", "MIM"),
    "apgd_ce": ("apgd", "APGDCrossEntropy"),
    "apgd_dlr": ("apgd", "APGDLogitsRatio"),
    "apgd_t": ("apgd", "APGDTargeted"),
    "gaussian": ("noise", "GaussianNoise"),
    "uniform": ("noise", "UniformNoise"),
    "square": ("square", "Square"),
    "diva": ("diva", "DIVA"),
}


def names() -> tuple[str, ...]:
    """Return the names of all attacks.

    Example:
        >>> "pgd" in names()
        True
    """
    return tuple(CLASSES)


def attack_class(name: str) -> type[Attack]:
    """Return the class of the attack called `name`.

    Raises:
        InputError: There is no such attack.

    Example:
        >>> attack_class("bim").__name__
        'BIM'
    """
    one_of("attack", name, CLASSES)
    module, attribute = CLASSES[name]
    found: type[Attack] = getattr(importlib.import_module(f"tf_laq.attacks.{module}"), attribute)
    return found


def get(name: str, **settings: Any) -> Attack:
    """Return the attack called `name` with these settings.

    Args:
        name: One of `names()`.
        **settings: The fields of its class.

    Raises:
        InputError: There is no such attack, or a setting is unknown, missing or out of range.

    Example:
        >>> get("fgsm", epsilon=0.25)
        FGSM(epsilon=0.25, norm='linf')
    """
    found = attack_class(name)
    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(found)}
    unknown = sorted(set(settings) - set(fields))
    missing = sorted(field for field, required in fields.items() if required and field not in settings)
    if unknown or missing:
        wrong = [f"unknown {key!r}" for key in unknown] + [f"no {key!r}" for key in missing]
        expected = f"settings among {', '.join(fields)}" if fields else "no settings"
        raise InputError(f"attack {name}", expected=expected, received=", ".join(wrong))
    return found(**settings)


def from_dict(content: dict[str, Any]) -> Attack:
    """Return the attack that `Attack.to_dict` described.

    Raises:
        InputError: The name is missing, or the settings do not fit the attack.

    Example:
        >>> from_dict({"name": "uniform", "epsilon": 0.25})
        UniformNoise(epsilon=0.25, norm='linf')
    """
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise InputError("attack", expected="an object with a name and settings", received=repr(content))
    return get(**content)
