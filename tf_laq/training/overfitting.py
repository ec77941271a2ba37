"""Catastrophic overfitting: a network learns to withstand the few steps that it is trained on, and nothing else.

Source: Wong, Rice, Kolter 2020, "Fast is better than free: Revisiting adversarial training" (arXiv 2001.03994),
section 5.4.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

ROBUST_ACCURACY = "robust_accuracy"

# Ordinary overfitting takes some points of the robust accuracy. This takes nearly all of it within an epoch or two.
_SHARE_LEFT = 0.5
# A change that few validation images can bring about by chance.
_CHANCE = 0.15
# Of a network that gets most of the training's examples right, this share at least should withstand more steps.
_LEARNT, _SHARE_WITHSTOOD = 0.5, 0.1
_ACCURACIES = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


class CatastrophicOverfittingWarning(UserWarning):
    """Adversarial training does not make a network robust, although its own examples fool it less and less."""


class OverfittingWatch:
    """Warns once where a network learns to withstand the training's own examples, but not the validation's attack.

    Either the validation's robust accuracy falls below half of its best while the training loss falls, or it is below a
    tenth of the training's accuracy where that is above one half.

    Args:
        warmed_up: Returns whether training has come to its full epsilon.

    Example:
        >>> watch = OverfittingWatch()
        >>> for epoch, (loss, robust) in enumerate([(1.0, 0.4), (0.5, 0.3)]):
        ...     watch.look(epoch, {"loss": loss, "val_robust_accuracy": robust})
    """

    def __init__(self, warmed_up: Callable[[], bool] = lambda: True) -> None:
        self._warmed_up = warmed_up
        self._best, self._best_epoch, self._loss_then = 0.0, 0, 0.0
        self._warned = False

    def look(self, epoch: int, logs: Mapping[str, float] | None) -> None:
        """Look at the logs of an epoch, if they have a robust accuracy on validation images."""
        logs = logs or {}
        robust, loss = logs.get(f"val_{ROBUST_ACCURACY}"), logs.get("loss")
        if robust is None or loss is None or self._warned:
            return
        accuracy = next((logs[name] for name in _ACCURACIES if name in logs), 0.0)
        fell = robust < min(_SHARE_LEFT * self._best, self._best - _CHANCE) and loss < self._loss_then
        if fell or (accuracy > _LEARNT and robust < _SHARE_WITHSTOOD * accuracy and self._warmed_up()):
            self._warned = True
            if fell:
                found = (
                    f"fell from {self._best:.3f} in epoch {self._best_epoch + 1} to {robust:.3f}, while the loss on "
                )
                found += f"the training's own examples fell from {self._loss_then:.3f} to {loss:.3f}"
            else:
                found = f"is {robust:.3f}, while the accuracy on the training's own examples is {accuracy:.3f}"
            warnings.warn(
                f"Catastrophic overfitting: in epoch {epoch + 1} the robust accuracy on validation images {found}. "
                "Train with more steps, a random start or a smaller epsilon, or keep the weights of an earlier epoch.",
                CatastrophicOverfittingWarning,
                stacklevel=2,
            )
        elif robust >= self._best:
            self._best, self._best_epoch, self._loss_then = robust, epoch, loss
