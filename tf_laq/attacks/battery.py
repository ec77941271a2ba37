"""Batteries: the columns of a robustness table as data, with the attacks of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from typing_extensions import Self

from tf_laq._internal.documents import Document
from tf_laq._internal.validation import one_of
from tf_laq.attacks import presets, registry
from tf_laq.attacks.base import Attack
from tf_laq.errors import InputError

# What the attacker knows: nothing, a model of the same structure, the model itself.
KNOWLEDGE = ("none", "gray", "white")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a robustness table.

    Args:
        name: Name of the column.
        attacks: The attack for each knowledge of the model: "none" (needs no model), "gray" (made on a
            surrogate), "white" (made on the evaluated model, from its gradients or its outputs).

    Raises:
        InputError: There is no attack, or a knowledge is not one of these three.

    Example:
        >>> column = Column(name="noise", attacks={"none": registry.get("uniform", epsilon=0.25)})
        >>> column.attacks["none"].epsilon
        0.25
    """

    name: str
    attacks: Mapping[str, Attack]

    def __post_init__(self) -> None:
        subject = f"column {self.name}"
        if not self.attacks or not set(self.attacks) <= set(KNOWLEDGE):
            expected = f"attacks for at least one of {', '.join(KNOWLEDGE)}"
            raise InputError(subject, expected=expected, received=list(self.attacks) or "none")
        for knowledge, attack in self.attacks.items():
            if not isinstance(attack, Attack):
                raise InputError(f"{subject}, {knowledge}", expected="an Attack", received=repr(attack))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Battery(Document):
    """An ordered set of attacks: the columns of a robustness table.

    Args:
        name: Name of the battery.
        columns: The columns in their order, with different names.
        source: Where the strengths come from.
        ensemble: Whether white-box attacks leave out the examples that an earlier column's broke. Cheaper, at the
            same worst case; a white-box column then counts what is left after it and the earlier ones.
        second_search: Whether an evaluation may search a second time on what an attack of several steps left. False
            gives the accuracy under the attacks as they are, which can overstate the robustness by far.

    Raises:
        InputError: There is no column, or two have the same name.

    Example:
        >>> Battery.preset("digits", "standard").only(["clean", "pgd"]).names
        ('clean', 'pgd')
    """

    document: ClassVar[str] = "tf_laq battery"
    version: ClassVar[int] = 1

    name: str
    columns: tuple[Column, ...]
    source: str = ""
    ensemble: bool = False
    second_search: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns or len(set(self.names)) != len(self.names):
            received = ", ".join(self.names) or "no column"
            raise InputError("columns", expected="columns with different names", received=received)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @classmethod
    def preset(cls, dataset: str, preset: str = "standard") -> Battery:
        """Return the battery of a data set at its published or chosen strengths.

        Args:
            dataset: "digits", "mnist" or "cifar10".
            preset: "standard": the field's strengths, gray-box and white-box alike. "paper": gray-box
                iterative attacks stronger than white-box ones, as in Song, Ranjan and Li 2021, section 6.
                "strong": an ensemble like AutoAttack: fewer attacks, the most effective ones.

        Raises:
            InputError: There is no such data set or preset.
        """
        return cls.from_dict(presets.described(dataset, preset))

    def only(self, names: Iterable[str]) -> Battery:
        """Return the battery with these columns only, in the battery's order.

        Raises:
            InputError: A name is not a column of this battery, or there is none.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        for name in wanted:
            one_of("column", name, self.names)
        kept = tuple(column for column in self.columns if column.name in wanted)
        return dataclasses.replace(self, columns=kept)

    def to_dict(self) -> dict[str, Any]:
        """Return name, source and columns as JSON-ready values."""
        columns = {
            column.name: {knowledge: attack.to_dict() for knowledge, attack in column.attacks.items()}
            for column in self.columns
        }
        kinds = {"ensemble": self.ensemble, "second_search": self.second_search}
        return {"name": self.name, "source": self.source, **kinds, "columns": columns}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Build the battery from what `to_dict` returned."""
        columns = tuple(
            Column(name=name, attacks={key: registry.from_dict(value) for key, value in attacks.items()})
            for name, attacks in content["columns"].items()
        )
        kinds = {name: content[name] for name in ("ensemble", "second_search") if name in content}
        return cls(name=content["name"], columns=columns, source=content["source"], **kinds)
