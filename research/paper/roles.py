"""The networks of the tables: trained ones by their role, and `adv` quantized in the paper's ways."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

import tf_laq as laq
from research.canvas import Canvas
from research.validation import one_of
from tf_laq import models
from tf_laq.adapters import logits_function
from tf_laq.attacks import Logits
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.policies import UnsatisfiedWarning

ROLES = {
    "orig": "trained without an attack",
    "adv": "adversarially trained",
    "twin": "adversarially trained with another seed: gray-box examples are made on it",
    "fl": "trained by feedback learning",
}
UNIFORM_BITS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network with what identifies it.

    Attributes:
        name: Its role, or the name of its plan.
        model: The Keras model.
        logits: The same as a callable; one object, so that TensorFlow traces every attack on it once.
        sha256: Of its weights.
        plan: What it was quantized by; None for full precision.
        origin: The network that was quantized.
    """

    name: str
    model: Any
    logits: Logits
    sha256: str
    plan: QuantizationPlan | None = None
    origin: Network | None = None

    @classmethod
    def of(cls, name: str, model: Any) -> Network:
        """Wrap a Keras model."""
        return cls(name, model, logits_function(model), models.weights_sha256(model))

    def quantized(self, name: str, plan: QuantizationPlan) -> Network:
        """Return the network quantized by a plan."""
        network = Network.of(name, laq.bake(self.model, plan))
        return dataclasses.replace(network, plan=plan, origin=self)

    @functools.cached_property
    def canvas(self) -> Canvas:
        """The one model for its quantized forms."""
        return Canvas(self.model)

    def filled(self, name: str, weights: Sequence[npt.NDArray[Any]], plan: QuantizationPlan | None) -> Network:
        """Return the network with other weights on its canvas; those returned before have them too from then on."""
        self.canvas.fill(weights)
        model = self.canvas.model
        return Network(name, model, self.canvas.logits, models.weights_sha256(model), plan, self)

    def in_turn(self, plans: Iterable[QuantizationPlan | None]) -> Iterator[Network]:
        """Yield the network quantized by each plan (None: as it is); each is good until the next."""
        for plan in plans:
            source = self.model if plan is None else laq.bake(self.model, plan)
            yield self.filled(self.name, source.get_weights(), plan)


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """All networks of a data set's tables.

    Attributes:
        trained: Role -> network, for those roles that there is a network for.
        quantized: Name of the plan -> `adv` quantized by it: q1, q2, lq, budget, then others.
    """

    trained: Mapping[str, Network]
    quantized: Mapping[str, Network]

    @classmethod
    def of(
        cls,
        trained: Mapping[str, Any],
        plans: Mapping[str, QuantizationPlan] | None = None,
        average_bits: float | None = None,
    ) -> Networks:
        """Quantize the network in the role `adv`.

        Args:
            trained: Role -> Keras model; all roles but `adv` may be missing.
            plans: More plans for `adv`, by name.
            average_bits: Bits of `budget`, what the policy of that name chooses; None for no such plan.

        Raises:
            InputError: A role is not known, there is no `adv`, or a plan does not fit it or has a name that is taken.
        """
        for role in trained:
            one_of("role", role, list(ROLES))
        if "adv" not in trained:
            raise InputError("models", expected="a network in the role adv", received=", ".join(trained) or "none")
        adv = trained["adv"]
        with warnings.catch_warnings():
            # Each table says it in a line of its own.
            warnings.simplefilter("ignore", UnsatisfiedWarning)
            chosen = {
                "q1": laq.uniform(adv, "linear", UNIFORM_BITS, progress=False),
                "q2": laq.uniform(adv, "log", UNIFORM_BITS, progress=False),
                "lq": laq.search(adv, policy="paper", progress=False),
            }
        if average_bits is not None:
            chosen["budget"] = laq.search(adv, policy="budget", average_bits=average_bits, progress=False)
        for name, plan in (plans or {}).items():
            if name in (*ROLES, *chosen):
                raise InputError("plans", expected="names of their own", received=repr(name))
            chosen[name] = plan
        networks = {role: Network.of(role, model) for role, model in trained.items()}
        return cls(networks, {name: networks["adv"].quantized(name, plan) for name, plan in chosen.items()})

    @property
    def adv(self) -> Network:
        """The adversarially trained network at full precision."""
        return self.trained["adv"]

    @property
    def evaluated(self) -> dict[str, Network]:
        """The rows of Tables 1 to 4: `adv`, then the quantized networks."""
        return {"adv": self.adv, **self.quantized}


def family(dataset: str, network: str = "") -> str:
    """Return what the names of the networks begin with that differ in their training only.

    Example:
        >>> family("mnist"), family("mnist", "madry")
        ('mnist', 'mnist_madry')
    """
    return f"{dataset}_{network}" if network else dataset


def shipped(dataset: str, network: str = "") -> dict[str, Any]:
    """Return the trained networks of a data set that are in saved_models, by role.

    Args:
        dataset: Name of the data set.
        network: Which of its networks; "" for those in place of the paper's.

    Raises:
        InputError: A network's file is damaged.
    """
    cards = models.trained()
    names = {role: f"{family(dataset, network)}_{role}" for role in ROLES}
    return {role: models.load(name) for role, name in names.items() if name in cards}
