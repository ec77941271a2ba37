"""Which image each network gets right under each attack: made when a table asks for it, and kept on the disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_laq.attacks.base import BallAttack, Images, Labels
from tf_laq.attacks.battery import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation import archives
from tf_laq.evaluation.report import Correct, RobustnessReport
from tf_laq.paper.networks import Network, Networks
from tf_laq.paper.settings import GRADIENT_FREE, SLOW, Settings, inside, part_of
from tf_laq.version import __version__

Announce = Callable[[str], object]

WORST_CASE = "worst_case"
# A kill loses no more than the work on so many images.
_PART = 100
_GRAY_PART = 1000


class Study:
    """The evaluations behind the tables of one data set.

    Examples of an attack are made once: gray-box ones for all networks, white-box ones for all tables. Each evaluation
    is kept as one file, under a name that tells everything it depends on, so a run that was killed goes on.

    Args:
        dataset: "mnist", "cifar10" or "digits".
        images: Test images.
        labels: Their labels.
        networks: The networks.
        settings: How many images and how strong attacks.
        cache: Folder of the kept evaluations.
        seed: Seed of the random attacks.
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
        announce: Announce = print,
    ) -> None:
        self.dataset, self.images, self.labels = dataset, images, labels
        self.networks, self.settings = networks, settings
        self.cache, self.seed, self.announce = cache, seed, announce
        self.paper = settings.paper_battery(dataset)
        self.strong = settings.strong_battery(dataset)
        self._known: dict[Path, RobustnessReport] = {}

    @property
    def epsilon(self) -> float:
        """Radius of the L-inf ball of the worst case, in pixel units."""
        attack = self.strong.only([GRADIENT_FREE]).columns[0].attacks["white"]
        assert isinstance(attack, BallAttack)
        return attack.epsilon

    def has(self, column: str, knowledge: str) -> bool:
        """Return whether there is an outcome of a column of the paper's battery: gray-box ones need a twin."""
        known = self.paper.only([column]).columns[0].attacks
        return knowledge in known and (knowledge != "gray" or "twin" in self.networks.trained)

    def correct(self, network: str, column: str, knowledge: str) -> Correct:
        """Return where a network is right under one of the paper's attacks, of the images that the attack sees."""
        if knowledge == "white":
            report = self._white(self.networks.evaluated[network], column)
        else:
            slow = [name for name in self.paper.names if (name in SLOW) == (column in SLOW)]
            report = self._gray(slow)
        return report.correct(network, column, knowledge)

    def gradient_free(self, network: str) -> Correct:
        """Return where a network is right under Square, of the images of the worst case."""
        return self._worst().correct(network, GRADIENT_FREE, "white")

    def worst(self, network: str) -> Correct:
        """Return where a network is right whatever was tried inside the ball, of the images of the worst case.

        That is the battery `strong` with its second search, and the paper's white-box attacks that stay in the ball.
        """
        right = self._worst().surviving(network).copy()
        for column in inside(self.paper, self.epsilon):
            seen = self.correct(network, column, "white")[: len(right)]
            right[: len(seen)] &= seen
        return right

    def evaluate(
        self,
        name: str,
        networks: Mapping[str, Network],
        battery: Battery,
        count: int,
        *,
        surrogates: Sequence[Network] = (),
        part_size: int | None = None,
    ) -> RobustnessReport:
        """Return an evaluation of networks on the first images, from the cache or made now.

        Args:
            name: Name for people.
            networks: Name -> network to attack.
            battery: The attacks.
            count: Number of images.
            surrogates: Networks to make gray-box examples on.
            part_size: Number of images after which what was found is kept; None to keep it at the end only.
        """
        from tf_laq import evaluation

        images, labels = self.images[:count], self.labels[:count]
        path = self.cache / f"{self.dataset}-{name}-{self._key(networks, battery, images, labels, surrogates)}.json"
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
                surrogates={source.name: source.logits for source in surrogates},
                float_twins={n: network.origin.logits for n, network in networks.items() if network.origin is not None},
                part_size=part_size or _GRAY_PART,
                seed=self.seed,
                folder=parts if part_size else None,
                overwrite=True,
                check_strength=False,
            )
            report.save(path)
            shutil.rmtree(parts, ignore_errors=True)
            self.announce(f"{name}: {time.process_time() - started:.0f} s of processor time")
            self._known[path] = report
        return self._known[path]

    def _white(self, network: Network, column: str) -> RobustnessReport:
        # Alone in an ensemble, an attack leaves out what the network misclassifies anyway.
        battery = part_of(self.paper, [column], ["white"], ensemble=True)
        return self.evaluate(f"white-{column}-{network.name}", {network.name: network}, battery, self.count(column))

    def _gray(self, columns: Sequence[str]) -> RobustnessReport:
        battery = part_of(self.paper, columns, ["none", "gray"])
        sources = [self.networks.trained[role] for role in ("twin",) if role in self.networks.trained]
        return self.evaluate(
            f"gray-{'slow' if columns[0] in SLOW else 'quick'}",
            self.networks.evaluated,
            battery,
            self.count(columns[0]),
            surrogates=sources,
            part_size=_PART if columns[0] in SLOW else _GRAY_PART,
        )

    def _worst(self) -> RobustnessReport:
        sources = [self.networks.trained[role] for role in ("twin", "adv") if role in self.networks.trained]
        count = self.settings.strong_examples
        return self.evaluate("worst", self.networks.evaluated, self.strong, count, surrogates=sources, part_size=_PART)

    def count(self, column: str) -> int:
        """Return the number of images that a column is measured on."""
        slow = column in (*SLOW, GRADIENT_FREE, WORST_CASE)
        return min(self.settings.strong_examples if slow else self.settings.examples, len(self.images))

    def _key(
        self,
        networks: Mapping[str, Network],
        battery: Battery,
        images: Images,
        labels: Labels,
        surrogates: Sequence[Network],
    ) -> str:
        content: dict[str, Any] = {
            "release": __version__,
            "networks": {n: [each.sha256, each.origin and each.origin.sha256] for n, each in networks.items()},
            "surrogates": {network.name: network.sha256 for network in surrogates},
            "battery": battery.to_dict(),
            "images": archives.sha256([images, labels]),
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def as_it_is(report: RobustnessReport, network: str, column: str, knowledge: str) -> Correct:
    """Return where a network is right under an attack without the second search of the battery.

    Raises:
        InputError: The report has no such outcome.
    """
    for outcome in report.outcomes:
        if (outcome.model, outcome.column, outcome.knowledge) == (network, column, knowledge) and not outcome.assisted:
            return outcome.correct
    raise InputError("outcome", expected="a cell of the report", received=f"{network}, {column}, {knowledge}")
