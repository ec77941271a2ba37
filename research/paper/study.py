"""Which image each network gets right under each attack: made when a table asks for it, and kept on the disk."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from research.cache import Cache
from research.paper.roles import Network, Networks, family
from research.paper.settings import GRADIENT_FREE, SLOW, PaperSettings, inside, part_of
from tf_laq import evaluation
from tf_laq.attacks import Battery, Square
from tf_laq.datasets import Split
from tf_laq.errors import InputError
from tf_laq.evaluation import Correct, RobustnessReport

Announce = Callable[[str], object]

WORST_CASE = "worst_case"
# Columns that see the images of the worst case alone.
_FEW_IMAGES = (*SLOW, GRADIENT_FREE, WORST_CASE)
# A kill loses no more than the work on so many batches.
_BATCHES = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The evaluations behind the tables of one data set.

    Examples of an attack are made once: gray-box ones for all networks, white-box ones for all tables, and none of an
    image that is broken already.

    Attributes:
        dataset: "mnist", "cifar10" or "digits".
        data: Test images with their labels.
        networks: The networks.
        settings: How many images and how strong attacks.
        cache: What keeps the evaluations.
        seed: Seed of the random attacks.
        network: Which of the data set's networks these are; "" for those in place of the paper's.
        announce: Receives a line before and after each evaluation.
    """

    dataset: str
    data: Split
    networks: Networks
    settings: PaperSettings
    cache: Cache
    _: dataclasses.KW_ONLY
    seed: int = 0
    network: str = ""
    announce: Announce = print

    @functools.cached_property
    def paper(self) -> Battery:
        """The paper's attacks."""
        return self.settings.paper_battery(self.dataset)

    @functools.cached_property
    def strong(self) -> Battery:
        """The attacks of the worst case."""
        return self.settings.strong_battery(self.dataset)

    @property
    def name(self) -> str:
        """What the names of the results begin with."""
        return family(self.dataset, self.network)

    @property
    def square(self) -> Square:
        """The gradient-free attack of the worst case."""
        attack = self.strong.only([GRADIENT_FREE]).columns[0].attacks["white"]
        assert isinstance(attack, Square)
        return attack

    @property
    def epsilon(self) -> float:
        """Radius of the L-inf ball of the worst case, in pixel units."""
        return self.square.epsilon

    def has(self, column: str, knowledge: str) -> bool:
        """Return whether there is an outcome of a column of the paper's battery: gray-box ones need a twin."""
        known = self.paper.only([column]).columns[0].attacks
        return knowledge in known and (knowledge != "gray" or "twin" in self.networks.trained)

    def count(self, column: str) -> int:
        """Return the number of images that a column is measured on."""
        settings = self.settings
        if column in _FEW_IMAGES:
            wanted = settings.strong_examples
        else:
            wanted = settings.clean_examples if self.has(column, "none") else settings.examples
        return min(wanted, len(self.data))

    def correct(self, network: str, column: str, knowledge: str) -> Correct:
        """Return where a network is right under one of the paper's attacks, of the images that the attack sees."""
        count = self.count(column)
        if knowledge == "none":
            return self._plain(network, column)[:count]
        slow = column in SLOW
        columns = [name for name in self.paper.names if (name in SLOW) == slow]
        about, battery = f"{knowledge}-{'slow' if slow else 'quick'}", part_of(self.paper, columns, knowledge)

        def read(report: RobustnessReport) -> Correct:
            return report.correct(network, column, knowledge)

        right = self._plain(network, "clean")[:count]
        if knowledge == "white":
            return self._left(f"{about}-{network}", [network], battery, right, read)
        # Made on the twin once for all networks, but not where none of them is right anyway.
        names = list(self.networks.evaluated)
        shown = np.logical_or.reduce([self._plain(name, "clean")[:count] for name in names])
        return right & self._left(about, names, battery, shown, read, surrogates=["twin"])

    def gradient_free(self, network: str) -> Correct:
        """Return where a network is right under Square too, of the images of the worst case.

        Square sees what the paper's white-box attacks that stay inside the ball have left.
        """
        left = self._plain(network, "clean")[: self.count(GRADIENT_FREE)].copy()
        for column in inside(self.paper, self.epsilon):
            seen = self.correct(network, column, "white")[: len(left)]
            left[: len(seen)] &= seen
        battery = part_of(self.strong, [GRADIENT_FREE], "white")
        return self._left(f"square-{network}", [network], battery, left, lambda report: report.surviving(network))

    def worst(self, network: str) -> Correct:
        """Return where a network is right whatever was tried inside the ball, of the images of the worst case.

        That is the paper's white-box attacks that stay in the ball, Square, and, on what these have left, the other
        attacks of the battery `strong` with its second search.
        """
        battery = self.strong.only([name for name in self.strong.names if name != GRADIENT_FREE])
        return self._left(
            f"worst-{network}",
            [network],
            battery,
            self.gradient_free(network),
            lambda report: report.surviving(network),
            surrogates=[role for role in ("twin", "adv") if role in self.networks.trained],
        )

    def evaluate(
        self,
        name: str,
        networks: Mapping[str, Network],
        battery: Battery,
        shown: Correct,
        *,
        surrogates: Sequence[Network] = (),
    ) -> RobustnessReport:
        """Return an evaluation of networks on some of the first images, from the cache or made now.

        Args:
            name: Name for people.
            networks: Name -> network to attack.
            battery: The attacks.
            shown: Which of the first images to take.
            surrogates: Networks to make gray-box examples on.
        """
        indices = np.flatnonzero(shown)
        shown_data = Split(self.data.images[indices], self.data.labels[indices])

        def make(folder: Path) -> RobustnessReport:
            self.announce(f"{name}: {', '.join(networks)}, {len(shown_data)} images")
            started = time.process_time()
            report = evaluation.evaluate(
                {name: network.logits for name, network in networks.items()},
                shown_data.images,
                shown_data.labels,
                battery=battery,
                indices=indices,
                surrogates={source.name: source.logits for source in surrogates},
                float_twins={n: network.origin.logits for n, network in networks.items() if network.origin is not None},
                batch_size=self.settings.batch_size,
                part_size=_BATCHES * self.settings.batch_size,
                seed=self.seed,
                folder=folder,
                overwrite=True,
                check_strength=False,
            )
            self.announce(f"{name}: {time.process_time() - started:.0f} s of processor time")
            return report

        facts = {
            "networks": {n: [each.sha256, each.origin and each.origin.sha256] for n, each in networks.items()},
            "surrogates": {network.name: network.sha256 for network in surrogates},
            "battery": battery.to_dict(),
            "data": [shown_data.sha256, indices.tolist()],
            "seed": self.seed,
        }
        return self.cache.report(f"{self.dataset}-{name}", facts, make)

    def _plain(self, network: str, column: str) -> Correct:
        """Return where a network is right without an attack or under noise."""
        battery = part_of(self.paper, self.paper.names, "none")
        settings = self.settings
        most = max(settings.clean_examples, settings.examples, settings.strong_examples)
        shown = np.ones(min(most, len(self.data)), np.bool_)
        evaluated = {network: self.networks.evaluated[network]}
        return self.evaluate(f"plain-{network}", evaluated, battery, shown).correct(network, column)

    def _left(
        self,
        name: str,
        networks: Sequence[str],
        battery: Battery,
        shown: Correct,
        read: Callable[[RobustnessReport], Correct],
        *,
        surrogates: Sequence[str] = (),
    ) -> Correct:
        """Return what attacks on the images that are shown have left: the others had been broken before."""
        left = shown.copy()
        if shown.any():
            evaluated = {name: self.networks.evaluated[name] for name in networks}
            if len(evaluated) == 1:
                evaluated = {name: _on_canvas(network) for name, network in evaluated.items()}
            sources = [self.networks.trained[role] for role in surrogates]
            left[shown] = read(self.evaluate(name, evaluated, battery, shown, surrogates=sources))
        return left


def _on_canvas(network: Network) -> Network:
    """Return a network that is attacked by itself, as the model that it shares with others quantized from the same."""
    if network.origin is None or network.plan is None:
        return network
    return network.origin.filled(network.name, network.model.get_weights(), network.plan)


def without_second_search(report: RobustnessReport, network: str, column: str, knowledge: str) -> Correct:
    """Return where a network is right under an attack as it is, without the second search of the battery.

    Raises:
        InputError: The report has no such outcome.
    """
    for outcome in report.outcomes:
        first = not outcome.second_search
        if (outcome.model, outcome.column, outcome.knowledge) == (network, column, knowledge) and first:
            return outcome.correct
    raise InputError("outcome", expected="an outcome of the report", received=f"{network}, {column}, {knowledge}")
