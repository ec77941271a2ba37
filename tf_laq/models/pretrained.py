"""Networks with their trained weights: the ones behind the published figures."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import tf_laq
from tf_laq._internal import archives
from tf_laq._internal.documents import Count, Document, Sha256, Size
from tf_laq._internal.typed import typed
from tf_laq.adapters import keras_version
from tf_laq.errors import InputError
from tf_laq.models.networks import build
from tf_laq.saving import load_model

CARD = "card.json"
"""The card in the folder of a trained network."""

WEIGHTS = "model.keras"
"""The weights in the folder of a trained network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Document):
    """What a trained network is, how it was trained and how it scored.

    Attributes:
        name: The name that `load` knows it by.
        about: What it is, in a line.
        dataset: Name of the data set.
        network: Name of the network for `build`.
        options: Its options for `build`.
        recipe: All settings of its training.
        seed: Seed of its training.
        command: What trains it again, or one like it where the recipe names another framework.
        minutes: Time of the training, of the processor or of the device that the recipe names.
        epochs: The log of the training: one mapping of losses and accuracies per epoch.
        scores: Accuracies, each with its attack, count, 95 % Wilson interval, seed and command.
        sha256: Of the file of weights.
    """

    document: ClassVar[str] = "tf_laq trained network"
    version: ClassVar[int] = 2

    name: str
    about: str
    dataset: str
    network: str
    options: Mapping[str, Count]
    recipe: Mapping[str, Any]
    seed: Count
    command: str
    minutes: Size
    epochs: tuple[Mapping[str, float], ...]
    scores: tuple[Mapping[str, Any], ...]
    sha256: Sha256

    @property
    def clean_accuracy(self) -> float | None:
        """Its accuracy without an attack, if it was measured."""
        return next((float(score["accuracy"]) for score in self.scores if score["attack"] == "none"), None)


def trained() -> dict[str, Card]:
    """Return the cards of the trained networks that are at hand, by name; none where there is no folder of them.

    They are looked for in the folder that TF_LAQ_MODELS names, else in the `saved_models` of the clone that tf_laq is
    imported from, else in `saved_models` in the working directory.

    Example:
        >>> trained()["mnist_adv"].network
        'mnist_cnn'
    """
    cards = (Card.load(path) for path in sorted(_folder().glob(f"*/{CARD}")))
    return {card.name: card for card in cards}


@typed
def load(name: str, *, keras: int = 2) -> Any:
    """Load a trained network, whole and undamaged, from where `trained` finds it.

    Args:
        name: One of `trained()`.
        keras: The version of Keras: 2 (`tf_keras`) or 3. Both have the same weights.

    Returns:
        A model from float32 images in [0, 1] to logits, not compiled.

    Raises:
        InputError: There is no such network, or its file is missing or damaged.

    Example:
        >>> load("mnist_adv").output_shape
        (None, 10)
    """
    cards = trained()
    if name not in cards:
        raise InputError(
            "name",
            expected=f"a trained network in {_folder()}: {', '.join(cards) or 'there is none'}",
            received=repr(name),
            remedy="The networks are not part of the package: clone its repository and set TF_LAQ_MODELS to the "
            "folder saved_models in it.",
        )
    card, path = cards[name], _folder() / name / WEIGHTS
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if found != card.sha256:
        raise InputError(
            str(path),
            expected=f"the file of SHA-256 {card.sha256}",
            received=found,
            remedy="It is damaged or was changed: check it out again.",
        )
    model = load_model(path)
    if keras == 2:
        return model
    # The layers have the same names, shapes and order in both versions.
    twin = build(card.network, keras=keras, **card.options)
    twin.set_weights(model.get_weights())
    return twin


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 of a Keras model's weights, in their order, as hexadecimal text.

    Example:
        >>> weights_sha256(load("mnist_adv")) == weights_sha256(load("mnist_adv", keras=3))
        True
    """
    keras_version(model)
    return archives.sha256(model.get_weights())


def _folder() -> Path:
    """Return where the trained networks are."""
    named = os.environ.get("TF_LAQ_MODELS")
    if named:
        return Path(named)
    clone = Path(tf_laq.__file__).parents[1] / "saved_models"
    return clone if clone.is_dir() else Path("saved_models").absolute()
