"""Batteries: the columns of a robustness table as data, with the attacks of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from typing_extensions import Self

from tf_laq._internal.documents import Document, convert
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of
from tf_laq.attacks import presets, registry
from tf_laq.attacks.base import Attack
from tf_laq.attacks.radius import battery_within
from tf_laq.errors import InputError

if TYPE_CHECKING:
    from tf_laq.attacks.pgd import PGD

KNOWLEDGE = ("none", "gray", "white")
"""What the attacker knows: nothing, a model of the same structure, the model itself."""


@typed
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


@typed
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
    version: ClassVar[int] = 2

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

    @classmethod
    def within(cls, epsilon: float, *, norm: str = "linf", preset: str = "standard") -> Battery:
        """Return the battery of a radius, for data without a preset of its own.

        The numbers are those of the presets where the presets agree with one another, else those of the named ones:

        | attack | rule | as in |
        | --- | --- | --- |
        | PGD | 40 steps of epsilon / 10 | digits; 40 steps also in Madry et al. (2018) on MNIST |
        | BIM, MIM | 20 steps of epsilon / 10 | digits |
        | FGSM, weak and strong | epsilon / 2 and epsilon | digits |
        | Gaussian noise | standard deviation epsilon | MNIST, CIFAR-10 |
        | uniform noise | epsilon | all |
        | Square | 1,000 queries, in "strong" 5,000 | digits, CIFAR-10; AutoAttack (Croce and Hein 2020) |
        | Auto-PGD, in "strong" | 100 steps, nine targets | all; AutoAttack |

        In "l2" there is no Gaussian noise, whose length grows with the number of pixels, but CW-L2, in "strong" DDN.

        Args:
            epsilon: The radius in pixel units of [0, 1], above 0.
            norm: "linf" or "l2". Attacks of the other norm are left out.
            preset: "quick": clean images and PGD. "standard": the columns of `preset`. "strong": an ensemble like
                AutoAttack: fewer attacks, the most effective ones.

        Raises:
            InputError: The radius is not above 0, or in "linf" above 1, or there is no such norm or preset.

        Example:
            >>> Battery.within(8 / 255).only("pgd").columns[0].attacks["white"].steps
            40
            >>> Battery.within(0.5, norm="l2", preset="strong").names
            ('clean', 'uniform', 'mim', 'apgd_ce', 'apgd_t', 'ddn', 'square')
        """
        return cls.from_dict(battery_within(epsilon, norm, preset))

    @classmethod
    def of_data(cls, data: str, preset: str, *, epsilon: float | None = None, norm: str = "linf") -> Battery:
        """Return the battery of a radius, or without one the preset of a data set.

        Args:
            data: Name of the data set.
            preset: As for `within`, or without a radius as for `preset`.
            epsilon: The radius; None for that of the data set's presets, which are in "linf".
            norm: "linf" or "l2".

        Raises:
            InputError: There is no radius for data without presets or for another norm than theirs, or an argument is
                as for the two.

        Example:
            >>> Battery.of_data("mnist", "strong").name, Battery.of_data("pets", "quick", epsilon=8 / 255).name
            ('mnist/strong', 'linf 0.03137/quick')
        """
        return cls.from_dict(presets.described_for(data, preset, epsilon, norm))

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

    @property
    def pgd(self) -> PGD:
        """Its white-box PGD.

        Raises:
            InputError: It has none.
        """
        return cast("PGD", self.only("pgd").columns[0].attacks["white"])

    @property
    def correction_attack(self) -> PGD:
        """Its white-box PGD in ten steps, which perturbs the training images that calibrations and corrections see.

        Example:
            >>> Battery.within(8 / 255).correction_attack.steps
            10
        """
        return dataclasses.replace(self.pgd, steps=10, step_size=None)

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
        read = convert(content, _Described)
        columns = tuple(
            Column(name=name, attacks={key: registry.from_dict(value) for key, value in attacks.items()})
            for name, attacks in read.columns.items()
        )
        return cls(**{**vars(read), "columns": columns})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Described:
    """A battery in JSON."""

    name: str
    source: str
    columns: Mapping[str, Mapping[str, dict[str, Any]]]
    ensemble: bool = False
    second_search: bool = True
