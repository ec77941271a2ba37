"""How many images and how strong attacks each data set gets: a matter of time, so it is data (`settings.json`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any

from research.validation import one_of, real, whole
from tf_laq.attacks import PGD, Attack, BallAttack, Battery, Column

# The attacks of the paper that take long, and so see fewer images.
SLOW = ("cw_l2",)
PGD_COLUMN = "pgd"
GRADIENT_FREE = "square"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """What is run on a data set.

    Attributes:
        clean_examples: Number of the first test images for accuracies without an attack.
        examples: The same for the paper's quick attacks.
        strong_examples: The same for CW-L2 and for the worst case.
        plan_examples: The same for the many plans that are compared by their norms.
        plan_queries: Queries of Square on those.
        plan_count: Number of those plans, at most.
        small_epsilon: L-inf radius in pixel units that a plainly trained network withstands in part.
        batch_size: Number of images attacked at a time.
        budget_bits: Average bits of the plan `budget`, not the paper's: those of the paper's `lq` by its table.
        attacks: Settings changed in the presets' attacks, by column.
        selection: What the selections of bits are compared on: "clean_examples" in place of those above; "uniform"
            settings by quantizer; further plans of "guarded", by name the quantizers that they choose from; "by_limit"
            the policies that keep to average bits (budget, calibrated, hawq, ans, random), and these; the number of
            training "images" that policies and corrections look at; "after" the plan, the names of plans that are
            "corrected" (their biases), "recalibrated" (their batch normalisation), "matched" (their statistics, on
            images or on "textures") and "fine-tuned"; changes to the "recipe" of fine-tuning; further changes in
            "attacks".

    Raises:
        InputError: A number is out of range.

    Example:
        >>> PaperSettings.of("mnist", strong_examples=100).strong_examples
        100
    """

    clean_examples: int
    examples: int
    strong_examples: int
    plan_examples: int
    plan_queries: int
    plan_count: int
    small_epsilon: float
    batch_size: int
    budget_bits: float
    attacks: Mapping[str, Mapping[str, Any]]
    selection: Mapping[str, Any]

    def __post_init__(self) -> None:
        counts = ("clean_examples", "examples", "strong_examples", "plan_examples", "plan_queries", "plan_count")
        for name in (*counts, "batch_size"):
            whole(name, getattr(self, name))
        real("small_epsilon", self.small_epsilon)
        real("budget_bits", self.budget_bits)

    @classmethod
    def of(cls, dataset: str, network: str = "", **changes: Any) -> PaperSettings:
        """Return the settings of a data set; `changes` that are None count for nothing.

        Args:
            dataset: Name of the data set.
            network: Which of its networks, where not those in place of the paper's.
            **changes: Fields to change.

        Raises:
            InputError: There is no such data set or network, or a change is out of range.
        """
        text = resources.files("research.paper").joinpath("settings.json").read_text(encoding="utf-8")
        known: dict[str, dict[str, Any]] = json.loads(text)
        one_of("dataset", dataset, known)
        content = known[dataset]
        networks = content.pop("networks", {})
        if network:
            one_of(f"network of {dataset}", network, networks)
            content |= networks[network]
        return cls(**{**content, **{name: value for name, value in changes.items() if value is not None}})

    def for_selection(self) -> PaperSettings:
        """Return the settings that selections of bits are judged with: the same images for all attacks, own ones."""
        changes: Mapping[str, Mapping[str, Any]] = self.selection["attacks"]
        changed = {name: {**self.attacks.get(name, {}), **change} for name, change in changes.items()}
        return dataclasses.replace(
            self,
            clean_examples=self.selection["clean_examples"],
            examples=self.strong_examples,
            attacks={**self.attacks, **changed},
        )

    def paper_battery(self, dataset: str) -> Battery:
        """Return the paper's attacks as they are: without the gradient-free one and without a second search.

        White-box PGD leaves an image as soon as it is broken; gray-box PGD goes on, since that transfers better.
        """
        battery = self._adjusted(Battery.preset(dataset, "paper"))
        kept = battery.only(name for name in battery.names if name != GRADIENT_FREE)
        return dataclasses.replace(_changed(kept, _stopping), second_search=False)

    def strong_battery(self, dataset: str) -> Battery:
        """Return the attacks of the worst case."""
        return self._adjusted(Battery.preset(dataset, "strong"))

    def _adjusted(self, battery: Battery) -> Battery:
        def adjusted(column: str, knowledge: str, attack: Attack) -> Attack:
            return dataclasses.replace(attack, **self.attacks.get(column, {}))

        return _changed(battery, adjusted)


def _changed(battery: Battery, change: Callable[[str, str, Attack], Attack]) -> Battery:
    """Return the battery with other attacks, which `change` returns for each column, knowledge and attack."""
    columns = [
        Column(name=c.name, attacks={known: change(c.name, known, attack) for known, attack in c.attacks.items()})
        for c in battery.columns
    ]
    return dataclasses.replace(battery, columns=tuple(columns))


def _stopping(column: str, knowledge: str, attack: Attack) -> Attack:
    if knowledge == "white" and isinstance(attack, PGD):
        return dataclasses.replace(attack, stop_when_broken=True)
    return attack


def part_of(battery: Battery, names: Iterable[str], knowledge: str) -> Battery:
    """Return the battery with those of these columns that have an attack with this knowledge, and it alone."""
    columns = tuple(
        Column(name=column.name, attacks={knowledge: column.attacks[knowledge]})
        for column in battery.only(names).columns
        if knowledge in column.attacks
    )
    return dataclasses.replace(battery, columns=columns)


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
