"""The batteries of `presets.json`, as they are described there, or those of a radius: none needs TensorFlow."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from tf_laq._internal.validation import one_of
from tf_laq.attacks.radius import battery_within
from tf_laq.errors import InputError


def datasets() -> list[str]:
    """Return the names of the data sets that have presets."""
    return sorted(_presets())


def described(dataset: str, preset: str) -> dict[str, Any]:
    """Return the battery of a data set as `Battery.from_dict` takes it; see `Battery.preset`.

    Raises:
        InputError: There is no such data set or preset.

    Example:
        >>> described("digits", "standard")["columns"]["clean"]
        {'none': {'name': 'clean'}}
    """
    batteries = _presets()
    one_of("dataset", dataset, batteries)
    one_of("preset", preset, batteries[dataset])
    return {"name": f"{dataset}/{preset}", **batteries[dataset][preset]}


def described_for(data: str, preset: str, epsilon: float | None, norm: str) -> dict[str, Any]:
    """Return the battery of a radius, or without one the preset of a data set, as `Battery.from_dict` takes it.

    Arguments and errors are those of `Battery.of_data`.
    """
    if epsilon is not None:
        return battery_within(epsilon, norm, preset)
    if data not in datasets() or norm != "linf":
        expected = f"a radius such as 8/255; in linf, {', '.join(datasets())} have their own"
        raise InputError("epsilon", expected=expected, received=f"none for {data} in {norm}")
    return described(data, preset)


@functools.cache
def _presets() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("presets.json").read_text(encoding="utf-8")
    presets: dict[str, Any] = json.loads(text)
    return presets
