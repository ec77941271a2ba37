"""Policies by name, for `laq.search(model, policy=...)` and the command line."""

from __future__ import annotations

from typing import Any

from tf_laq.errors import InputError
from tf_laq.policies.algorithm1 import Algorithm1
from tf_laq.policies.base import Policy
from tf_laq.policies.budget import Budget, Limit
from tf_laq.policies.guarded import Guarded
from tf_laq.policies.random_bits import RandomBits

DEFAULT = "guarded"
"""What `laq.search` and `laq.apply` take unless told otherwise."""

_LIMIT = ("average_bits", "max_bytes")
_CHOICE = ("quantizers", "max_bits")
_POLICIES: dict[str, tuple[type[Policy], tuple[str, ...]]] = {
    "guarded": (Guarded, ("error", "floor", "input_weight", *_CHOICE)),
    "paper": (Algorithm1, ("thresholds", *_CHOICE)),
    "budget": (Budget, (*_LIMIT, "cost", *_CHOICE)),
    "random": (RandomBits, (*_LIMIT, "seed", *_CHOICE)),
}
NAMES = tuple(_POLICIES)


def get(name: str, **settings: Any) -> Policy:
    """Return a policy that needs no data, by its name.

    Args:
        name: "guarded", "paper" (Algorithm 1), "budget" or "random".
        **settings: What the policy's class takes, with `average_bits` or `max_bytes` for its limit; those that are
            None keep their default.

    Raises:
        InputError: There is no such policy, it has no such setting, or a setting is out of range.

    Example:
        >>> get("budget", average_bits=3.5).describe()
        'budget (3.5 bits a weight; least sum of the guarded error)'
    """
    if name not in _POLICIES:
        raise InputError(
            "policy",
            expected=f"a policy, or one of {', '.join(NAMES)}",
            received=repr(name),
            remedy="Those that need data are objects, such as tf_laq.policies.Hawq(images, labels, limit=...).",
        )
    cls, known = _POLICIES[name]
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    for key in given.keys() - set(known):
        raise InputError(key, expected=f"none with the policy {name}", received=repr(given[key]))
    if "average_bits" in known:
        given["limit"] = Limit(**{key: given.pop(key) for key in _LIMIT if key in given})
    return cls(**given)
