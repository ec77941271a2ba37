"""Many different plans of one network, and how robust it is under each: what the paper's fourth claim is judged by."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import tf_laq as laq
from research.paper.roles import Network
from research.paper.settings import GRADIENT_FREE, PGD_COLUMN
from research.paper.study import WORST_CASE, Study, without_second_search
from research.statistics import share
from tf_laq import quantizers
from tf_laq.adapters import adapter_of
from tf_laq.attacks import Battery, Column
from tf_laq.evaluation import Correct, Share
from tf_laq.plan import PlanEntry, QuantizationPlan
from tf_laq.policies import Algorithm1, TensorPolicy, Thresholds, UnsatisfiedWarning, make_plan, measured_entry
from tf_laq.sensitivity import TensorSensitivity

_UNIFORM_BITS = range(2, 8)
_RANDOM_BITS = (2, 8)
_RANDOM_PLANS = 16
# Factors on both limits of Eq. (11b).
_LIMITS = (0.1, 0.2, 0.35, 0.5, 1.0, 2.0)
_CHOICES = {"linear and log": ("linear", "log"), "linear": ("linear",)}


class Candidate(NamedTuple):
    """A way to quantize a network.

    Attributes:
        kind: What it is one of, such as "uniform" or "policy".
        name: Its name.
        plan: The plan; None for full precision.
        base: Name of the candidate that had this plan first, for one that is trained or corrected after it, else "".
    """

    kind: str
    name: str
    plan: QuantizationPlan | None
    base: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A network quantized in one way, and what it withstands.

    Attributes:
        candidate: The way.
        correct: Column -> where the network is right.
    """

    candidate: Candidate
    correct: dict[str, Correct]

    def share(self, column: str) -> Share:
        """Return an accuracy."""
        return share(self.correct[column])


@dataclasses.dataclass(frozen=True)
class RandomSettings(TensorPolicy):
    """A policy that draws every layer's quantizer and bits (2 to 8), each setting as likely as the others.

    Attributes:
        quantizers: Names of the quantizers to draw from.
        seed: Of the draws; a layer's also depends on its name.
    """

    quantizers: tuple[str, ...]
    seed: int

    def choose_one(self, sensitivity: TensorSensitivity) -> PlanEntry:
        """Return the entry of the plan for this weight tensor."""
        name = f"{sensitivity.tensor.layer}.{sensitivity.tensor.weight}"
        random = np.random.default_rng([self.seed, *name.encode()])
        quantizer = self.quantizers[random.integers(len(self.quantizers))]
        bits = int(random.integers(_RANDOM_BITS[0], _RANDOM_BITS[1] + 1))
        return measured_entry(sensitivity, quantizers.get(quantizer, bits), "drawn")

    def describe(self) -> str:
        """Return the policy and its settings in words."""
        return f"random {' or '.join(self.quantizers)}, seed {self.seed}"


def sample(network: Network, seed: int) -> list[Candidate]:
    """Return different plans of a network, of the kinds "uniform", "Algorithm 1" and "random".

    Uniform ones, Algorithm 1's at scaled error limits, and random ones, the last two with both quantizers and with the
    linear one alone; of plans with the same errors in every layer the first is kept.
    """
    found: dict[tuple[float | None, ...], Candidate] = {}
    for kind, name, plan in _plans(network, seed):
        found.setdefault(tuple(entry.error_norm for entry in plan.entries), Candidate(kind, name, plan))
    return list(found.values())


def judge_sample(study: Study) -> list[Judged]:
    """Attack `adv` under every plan of the sample: the paper's PGD, its second search, and Square on what is left."""
    found = sample(study.networks.adv, study.seed)
    # Evenly from all kinds, if there are too many.
    places = np.linspace(0, len(found) - 1, min(len(found), study.settings.plan_count)).round().astype(int)
    sampled = [found[place] for place in places]
    quantized = study.networks.adv.in_turn(candidate.plan for candidate in sampled)
    return [
        Judged(candidate, judge(study, f"plan {number} of {len(sampled)}", network, study.epsilon))
        for number, (candidate, network) in enumerate(zip(sampled, quantized, strict=True), start=1)
    ]


def judge(study: Study, name: str, network: Network, epsilon: float) -> dict[str, Correct]:
    """Return where a network is right: "clean", under the paper's "pgd" as it is, and in the "worst_case".

    The worst case is that of PGD, its second search, and Square on what these left.

    Args:
        study: The settings and the images.
        name: What to announce.
        network: The network.
        epsilon: L-inf radius in pixel units.
    """
    pgd = study.paper.pgd
    if epsilon != pgd.epsilon:
        pgd = dataclasses.replace(pgd, epsilon=epsilon, step_size=None)
    square = dataclasses.replace(study.square, epsilon=epsilon, queries=study.settings.plan_queries)
    columns = (Column(name=PGD_COLUMN, attacks={"white": pgd}), Column(name=GRADIENT_FREE, attacks={"white": square}))
    battery = Battery(name=f"{study.dataset}/plans", columns=columns, ensemble=True)
    shown = np.ones(min(study.settings.plan_examples, len(study.data)), np.bool_)
    report = study.evaluate(name.replace(" ", "-"), {network.name: network}, battery, shown)
    return {
        "clean": report.correct(network.name, "clean"),
        PGD_COLUMN: without_second_search(report, network.name, PGD_COLUMN, "white"),
        WORST_CASE: report.surviving(network.name),
    }


def _plans(network: Network, seed: int) -> Iterator[tuple[str, str, QuantizationPlan]]:
    for quantizer in ("linear", "log"):
        for bits in _UNIFORM_BITS:
            yield "uniform", f"{quantizer} {bits}", laq.uniform(network.model, quantizer, bits, progress=False)
    standard = Thresholds()
    for about, names in _CHOICES.items():
        for factor in _LIMITS:
            below, above = factor * standard.error_below, factor * standard.error_above
            limits = Thresholds(error_below=below, error_above=above)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnsatisfiedWarning)
                plan = laq.search(network.model, policy=Algorithm1(thresholds=limits, quantizers=names), progress=False)
            yield "Algorithm 1", f"{about}, limits of (11b) times {factor:g}", plan
    tensors, left_alone = adapter_of(network.model).find_weights(network.model)
    for about, names in _CHOICES.items():
        for draw in range(_RANDOM_PLANS):
            policy = RandomSettings(names, seed * 1000 + draw)
            yield "random", f"{about}, draw {draw}", make_plan(tensors, left_alone, policy, progress=False)
