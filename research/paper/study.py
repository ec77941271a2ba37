"""Which image each network gets right under each attack: made when a table asks for it, and kept on the disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research.paper.networks import Network, Networks, family
from research.paper.settings import GRADIENT_FREE, SLOW, Settings, inside, part_of
from tf_laq._internal import archives
from tf_laq.attacks.base import Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.attacks.square import Square
from tf_laq.errors import InputError
from tf_laq.evaluation import Correct, RobustnessReport
from tf_laq.version import __version__

Announce = Callable[[str], object]

WORST_CASE = "worst_case"
# A kill loses no more than the work on so many batches.
_BATCHES = 4


class Study:
    """The evaluations behind the tables of one data set.

    Examples of an attack are made once: gray-box ones for all networks, white-box ones for all tables, and none of an
    image that is broken already. Each evaluation is kept as one file, under a name that
    tells everything it depends on, so a run that was killed goes on.

    Args:
        dataset: "mnist", "cifar10" or "digits".
        images: Test images.
        labels: Their labels.
        networks: The networks.
        settings: How many images and how strong attacks.
        cache: Folder of the kept evaluations.
        seed: Seed of the random attacks.
        network: Which of the data set's networks these are; "" for those in place of the paper's.
        announce: Receives a line before and after each evaluation.
    """

    def __init__(
        self,
        dataset: str,
        images: Images,
        labels: Labels,
        networks: Networks,
        settings: Settings,
        *,
        cache: Path,
        seed: int = 0,
        network: str = "",
        announce: Announce = print,
    ) -> None:
        self.dataset, self.network, self.images, self.labels = dataset, network, images, labels
        self.networks, self.settings = networks, settings
        self.cache, self.seed, self.announce = cache, seed, announce
        self.paper = settings.paper_battery(dataset)
        self.strong = settings.strong_battery(dataset)
        self._known: dict[Path, RobustnessReport] = {}

    def changed(self, *, networks: Networks | None = None, settings: Settings | None = None) -> Study:
        """Return a study of the same images, with other networks or settings."""
        return Study(
            self.dataset,
            self.images,
            self.labels,
            networks or self.networks,
            settings or self.settings,
            cache=self.cache,
            seed=self.seed,
            network=self.network,
            announce=self.announce,
        )

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
        slow = column in (*SLOW, GRADIENT_FREE, WORST_CASE)
        return min(self.settings.strong_examples if slow else self.settings.examples, len(self.images))

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
        from tf_laq import evaluation

        indices = np.flatnonzero(shown)
        images, labels = self.images[indices], self.labels[indices]
        data = archives.sha256([images, labels, indices])
        path = self.cache / f"{self.dataset}-{name}-{self._key(networks, battery, data, surrogates)}.json"
        if path not in self._known and path.is_file():
            self._known[path] = RobustnessReport.load(path)
        if path not in self._known:
            self.announce(f"{name}: {', '.join(networks)}, {len(images)} images")
            started, parts = time.process_time(), path.with_suffix(".parts")
            report = evaluation.evaluate(
                {name: network.logits for name, network in networks.items()},
                images,
                labels,
                battery=battery,
                indices=indices,
                surrogates={source.name: source.logits for source in surrogates},
                float_twins={n: network.origin.logits for n, network in networks.items() if network.origin is not None},
                batch_size=self.settings.batch_size,
                part_size=_BATCHES * self.settings.batch_size,
                seed=self.seed,
                folder=parts,
                overwrite=True,
                check_strength=False,
            )
            report.save(path)
            shutil.rmtree(parts, ignore_errors=True)
            self.announce(f"{name}: {time.process_time() - started:.0f} s of processor time")
            self._known[path] = report
        return self._known[path]

    def _plain(self, network: str, column: str) -> Correct:
        """Return where a network is right without an attack or under noise."""
        battery = part_of(self.paper, self.paper.names, "none")
        shown = np.ones(max(self.count(column), self.count(WORST_CASE)), np.bool_)
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

    def _key(
        self,
        networks: Mapping[str, Network],
        battery: Battery,
        data: str,
        surrogates: Sequence[Network],
    ) -> str:
        content: dict[str, Any] = {
            "release": __version__,
            "networks": {n: [each.sha256, each.origin and each.origin.sha256] for n, each in networks.items()},
            "surrogates": {network.name: network.sha256 for network in surrogates},
            "battery": battery.to_dict(),
            "data": data,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _on_canvas(network: Network) -> Network:
    """Return a network that is attacked by itself, as the model that it shares with others quantized from the same."""
    if network.origin is None or network.plan is None:
        return network
    return network.origin.canvas.filled(network.name, network.model.get_weights(), network.plan)


def as_it_is(report: RobustnessReport, network: str, column: str, knowledge: str) -> Correct:
    """Return where a network is right under an attack without the second search of the battery.

    Raises:
        InputError: The report has no such outcome.
    """
    for outcome in report.outcomes:
        if (outcome.model, outcome.column, outcome.knowledge) == (
            network,
            column,
            knowledge,
        ) and not outcome.second_search:
            return outcome.correct
    raise InputError("outcome", expected="a cell of the report", received=f"{network}, {column}, {knowledge}")
