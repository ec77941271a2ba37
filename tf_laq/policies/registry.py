"""Policies by name, for `laq.search(model, policy=...)` and the command line."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_laq._internal.typed import typed
from tf_laq.errors import InputError
from tf_laq.policies.algorithm1 import Algorithm1
from tf_laq.policies.base import Policy
from tf_laq.policies.budget import Budget, Limit
from tf_laq.policies.guarded import Guarded
from tf_laq.policies.random_bits import RandomBits

DEFAULT = "guarded"
"""What `laq.search` and `laq.apply` take unless told otherwise."""

_LIMIT = ("average_bits", "max_bytes")
_POLICIES: dict[str, type[Policy]] = {"guarded": Guarded, "paper": Algorithm1, "budget": Budget, "random": RandomBits}
NAMES = tuple(_POLICIES)
"""The policies that `get` knows."""


@typed
def settings_of(name: str) -> tuple[str, ...]:
    """Return the settings that `get` takes for a policy: the fields of its class, a limit by its two.

    Raises:
        InputError: There is no such policy.

    Example:
        >>> settings_of("random")
        ('average_bits', 'max_bytes', 'seed', 'quantizers', 'max_bits')
    """
    if name not in _POLICIES:
        raise InputError(
            "policy",
            expected=f"a policy, or one of {', '.join(NAMES)}",
            received=repr(name),
            remedy="Those that need data are objects, such as tf_laq.policies.Hawq(images, labels, limit=...).",
        )
    fields = [field.name for field in dataclasses.fields(_POLICIES[name])]  # type: ignore[arg-type]  # They have some.
    return tuple(setting for field in fields for setting in (_LIMIT if field == "limit" else (field,)))


@typed
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
    known = settings_of(name)
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    for key, value in given.items():
        if key not in known:
            remedy = f"It has {', '.join(known)}."
            raise InputError(key, expected=f"none with the policy {name}", received=repr(value), remedy=remedy)
    if "average_bits" in known:
        given["limit"] = Limit(**{key: given.pop(key) for key in _LIMIT if key in given})
    return _POLICIES[name](**given)
