"""Policies by name, for `laq.search(model, policy=...)` and the command line."""

from __future__ import annotations

from typing import Any

from tf_laq.errors import InputError
from tf_laq.policies.algorithm1 import Algorithm1, Thresholds
from tf_laq.policies.base import Policy
from tf_laq.policies.budget import Budget, Limit
from tf_laq.policies.guarded import Guarded
from tf_laq.policies.random_bits import RandomBits

NAMES = ("guarded", "paper", "budget", "random")
DEFAULT = "guarded"
"""What `laq.search` and `laq.apply` take unless told otherwise."""

_LIMIT = ("average_bits", "max_bytes")
_SETTINGS = {
    "paper": ("thresholds", "methods", "max_bits"),
    "guarded": ("error", "floor", "input_weight", "methods", "max_bits"),
    "budget": (*_LIMIT, "cost", "methods", "max_bits"),
    "random": (*_LIMIT, "seed", "methods", "max_bits"),
}


def named(name: str, **settings: Any) -> Policy:
    """Return a data-free policy by its name.

    Args:
        name: "guarded", "paper" (Algorithm 1), "budget" or "random".
        **settings: What the policy's class takes, with `average_bits` or `max_bytes` for its limit; those that are
            None keep their default.

    Raises:
        InputError: There is no such policy, it has no such setting, or a setting is out of range.

    Example:
        >>> named("budget", average_bits=3.5).describe()
        'budget (3.5 bits a weight; least sum of the guarded error)'
    """
    if name not in NAMES:
        raise InputError(
            "policy",
            expected=f"a policy, or one of {', '.join(NAMES)}",
            received=repr(name),
            remedy="hawq and ans need data: see tf_laq.policies.hawq and tf_laq.policies.ans.",
        )
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    for key in given.keys() - set(_SETTINGS[name]):
        raise InputError(key, expected=f"none with the policy {name}", received=repr(given[key]))
    if name == "paper":
        return Algorithm1(thresholds=given.pop("thresholds", Thresholds()), **given)
    if name == "guarded":
        return Guarded(**given)
    limit = Limit(**{key: given.pop(key) for key in _LIMIT if key in given})
    return Budget(limit=limit, **given) if name == "budget" else RandomBits(limit=limit, **given)
