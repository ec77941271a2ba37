"""How many images and how strong attacks each data set gets: a matter of time, so it is data (`settings.json`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from tf_laq.attacks.base import BallAttack
from tf_laq.attacks.battery import Battery, Column
from tf_laq.attacks.checks import one_of, real, whole

# The attacks of the paper that take long, and so see fewer images.
SLOW = ("cw_l2",)
GRADIENT_FREE = "square"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run on a data set.

    Attributes:
        examples: Number of the first test images that the paper's quick attacks see.
        strong_examples: The same for CW-L2 and for the worst case.
        curve_examples: The same for the clean accuracy by bits.
        plan_examples: The same for the many plans that are compared by their norms.
        plan_queries: Queries of Square on those.
        plan_count: Number of those plans, at most.
        small_epsilon: L-inf radius in pixel units that a plainly trained network withstands in part.
        attacks: Settings changed in the presets' attacks, by column.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> Settings.of("mnist", strong_examples=100).strong_examples
        100
    """

    examples: int
    strong_examples: int
    curve_examples: int
    plan_examples: int
    plan_queries: int
    plan_count: int
    small_epsilon: float
    attacks: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        for name in ("examples", "strong_examples", "curve_examples", "plan_examples", "plan_queries", "plan_count"):
            whole(name, getattr(self, name))
        real("small_epsilon", self.small_epsilon)

    @classmethod
    def of(cls, dataset: str, **changes: Any) -> Settings:
        """Return the settings of a data set; `changes` that are None count for nothing.

        Raises:
            InputError: There is no such data set, or a change is out of range.
        """
        text = resources.files("tf_laq.paper").joinpath("settings.json").read_text(encoding="utf-8")
        known: dict[str, dict[str, Any]] = json.loads(text)
        one_of("dataset", dataset, known)
        return cls(**{**known[dataset], **{name: value for name, value in changes.items() if value is not None}})

    def paper_battery(self, dataset: str) -> Battery:
        """Return the paper's attacks as they are: without the gradient-free one and without a second search."""
        battery = self._adjusted(Battery.preset(dataset, "paper"))
        columns = tuple(column for column in battery.columns if column.name != GRADIENT_FREE)
        return dataclasses.replace(battery, columns=columns, second_search=False)

    def strong_battery(self, dataset: str) -> Battery:
        """Return the attacks of the worst case; Square is the first white-box one, so its column is its own."""
        battery = self._adjusted(Battery.preset(dataset, "strong"))
        white = [column.name for column in battery.columns if "white" in column.attacks]
        ordered = sorted(battery.columns, key=lambda c: (c.name in white, c.name in white and c.name != GRADIENT_FREE))
        return dataclasses.replace(battery, columns=tuple(ordered))

    def _adjusted(self, battery: Battery) -> Battery:
        columns = [
            Column(
                name=column.name,
                attacks={
                    known: dataclasses.replace(attack, **self.attacks.get(column.name, {}))
                    for known, attack in column.attacks.items()
                },
            )
            for column in battery.columns
        ]
        return dataclasses.replace(battery, columns=tuple(columns))


def part_of(battery: Battery, names: Iterable[str], knowledge: Iterable[str], *, ensemble: bool = False) -> Battery:
    """Return the battery with these columns and, of each, the attacks with this knowledge only."""
    columns = [
        Column(
            name=column.name, attacks={known: column.attacks[known] for known in knowledge if known in column.attacks}
        )
        for column in battery.only(names).columns
    ]
    return dataclasses.replace(battery, columns=tuple(columns), ensemble=ensemble)


def inside(battery: Battery, epsilon: float) -> list[str]:
    """Return the columns whose white-box attack stays within an L-inf ball of radius `epsilon`.

    Example:
        >>> inside(Battery.preset("cifar10", "paper"), 8 / 255)
        ['fgsm_weak', 'pgd', 'bim', 'mim', 'square']
    """
    # Radii are written with ten digits.
    return [
        column.name
        for column in battery.columns
        if isinstance(attack := column.attacks.get("white"), BallAttack)
        and attack.norm == "linf"
        and attack.epsilon <= epsilon * (1.0 + 1e-6)
    ]
