"""A small strong battery, on images that the float network withstands."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from research.layers.settings import LayerSettings
from tf_laq.attacks import APGDCrossEntropy, Images, Labels, Logits, Square, completed_gradient
from tf_laq.evaluation import FEW_ZEROS, Correct, Examples, zero_gradients

# What is left after each is kept; the last one is the worst case.
STAGES = ("clean", "apgd_ce", "square")
WORST_CASE = STAGES[-1]

Rows = npt.NDArray[np.int64]
_Search = Callable[[Images, Labels, Rows], Images]


@dataclasses.dataclass(frozen=True)
class Attacked:
    """What the battery did to a network.

    Attributes:
        right: Stage -> where the network is right after it and those before, shape (n,).
        examples: The images that Auto-PGD found, of those it did not break too.
        zeros: Share of exact zeros in the input gradients.
    """

    right: dict[str, Correct]
    examples: Images
    zeros: float


class SmallBattery:
    """Auto-PGD on the cross-entropy, a second search where gradients are zero, then Square on what is left.

    The second search is made if more than 1 % of the entries of the input gradients are exactly zero: from the float
    network's examples, if they are given, with the gradient completed there.

    Args:
        logits: The network. Its weights may change between runs: attacks are traced once.
        float_logits: The float network, whose gradient is the last resort; None if it is this one.
        settings: The attacks' strengths.
    """

    def __init__(self, logits: Logits, float_logits: Logits | None, settings: LayerSettings) -> None:
        self._logits = logits
        self._completed = completed_gradient(logits, settings.epsilon, float_logits)
        self._gradient = APGDCrossEntropy(epsilon=settings.epsilon, steps=settings.steps)
        self._square = Square(epsilon=settings.epsilon, queries=settings.queries)

    def __call__(self, data: Examples, starts: Images | None = None) -> Attacked:
        """Attack the images.

        Args:
            data: The images.
            starts: Examples of the float network, which the second search begins at.
        """
        outputs = data.outputs(self._logits, data.images)
        right, zeros = np.argmax(outputs, axis=1) == data.labels, self._zeros(data)
        # An image that is broken gets a label that the network gives it least: attacks then leave it at once, while
        # the batch keeps its size, so that nothing is traced again.
        hopeless, examples = np.argmin(outputs, axis=1), data.images.copy()
        after = {"clean": right.copy()}
        for stage, search in self._searches(data, starts, blind=zeros > FEW_ZEROS):
            for rows in data:
                if not right[rows].any():
                    continue
                found = search(data.images[rows], np.where(right[rows], data.labels[rows], hopeless[rows]), rows)
                answers = np.argmax(self._logits(tf.constant(found)), axis=1)
                if stage != WORST_CASE:
                    examples[rows] = np.where(right[rows][:, None, None, None], found, examples[rows])
                right[rows] &= answers == data.labels[rows]
            after[stage] = right.copy()
        return Attacked(after, examples, zeros)

    def _searches(self, data: Examples, starts: Images | None, *, blind: bool) -> Iterator[tuple[str, _Search]]:
        def drawn(attack: APGDCrossEntropy | Square, logits: Logits) -> _Search:
            return lambda images, labels, rows: attack(
                logits, images, labels, seed=data.seed, indices=data.numbers[rows]
            )

        yield "apgd_ce", drawn(self._gradient, self._logits)
        if blind:
            yield (
                "apgd_ce",
                drawn(self._gradient, self._completed) if starts is None else functools.partial(self._from, starts),
            )
        yield WORST_CASE, drawn(self._square, self._logits)

    def _from(self, starts: Images, images: Images, labels: Labels, rows: Rows) -> Images:
        return self._gradient.from_starts(self._completed, images, labels, starts[rows])

    def _zeros(self, data: Examples) -> float:
        zeros = zero_gradients(self._logits, data)
        return 0.0 if zeros is None else zeros.entries
