"""Recipes of training, kept as data in `recipes.json`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any

from tf_laq._internal.validation import one_of, real, whole
from tf_laq.errors import InputError
from tf_laq.models import names, options_of

OPTIMIZERS = ("adam", "sgd")
AUGMENTATIONS = ("none", "crop_and_flip")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained, except the images and the seed.

    Attributes:
        model: Name of the network for `models.build`.
        model_options: Its options.
        epochs: Passes through the training images.
        batch_size: Images in an optimizer step.
        optimizer: "adam", or "sgd" with Nesterov momentum 0.9.
        learning_rate: The peak. The rate rises linearly to it and falls to 0 along a cosine.
        learning_rate_warmup: The share of all steps in which it rises, in [0, 1).
        weight_decay: Decay of the kernels per unit of learning rate; 0 for none.
        augmentation: "none", or "crop_and_flip": four pixels of padding, a random crop, a random mirror
            image.
        attack: Settings of `attacks.PGD`, in pixel units of [0, 1]; None trains on the images as they are.
        epsilon_warmup: The share of all steps in which epsilon rises from 0, in [0, 1].
        lipschitz_penalty: beta of `add_lipschitz_penalty`; 0 for none.
        precision: "float32", or "mixed_bfloat16": bfloat16 activations and gradients with float32 weights and
            logits, up to twice as fast on processors that have it. The trained model is float32 either way.
        about: What the recipe is for and what was measured.

    Raises:
        InputError: A setting is out of range; the message names it.
    """

    model: str
    epochs: int
    batch_size: int
    learning_rate: float
    attack: Mapping[str, Any] | None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "adam"
    learning_rate_warmup: float = 0.0
    weight_decay: float = 0.0
    augmentation: str = "none"
    epsilon_warmup: float = 0.0
    lipschitz_penalty: float = 0.0
    precision: str = "float32"
    about: str = ""

    def __post_init__(self) -> None:

        one_of("model", self.model, names())
        for option, value in self.model_options.items():
            one_of("model_options", option, options_of(self.model))
            whole(f"model_options {option}", value)
        if self.attack is not None:
            _check_attack(self.attack)
        whole("epochs", self.epochs)
        whole("batch_size", self.batch_size)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        real("learning_rate", self.learning_rate)
        real("learning_rate_warmup", self.learning_rate_warmup, maximum=0.99)
        real("weight_decay", self.weight_decay)
        one_of("augmentation", self.augmentation, AUGMENTATIONS)
        real("epsilon_warmup", self.epsilon_warmup, maximum=1.0)
        real("lipschitz_penalty", self.lipschitz_penalty)
        one_of("precision", self.precision, PRECISIONS)


def _check_attack(settings: Mapping[str, Any]) -> None:
    from tf_laq.attacks.pgd import PGD

    known = [field.name for field in fields(PGD)]
    for name in settings:
        one_of("attack", name, known)
    if "epsilon" not in settings:
        raise InputError("attack", expected="at least an epsilon", received=dict(settings))
    PGD(**settings)


def recipe(dataset: str, name: str = "fast") -> Recipe:
    """Return a recipe by the name of its data set and its own.

    Args:
        dataset: "digits", "mnist" or "cifar10".
        name: "fast" for adversarial training; "full" for more of it, on MNIST and CIFAR-10; "plain" for training
            without an attack; "finetune" for `fine_tune`. Other networks: "madry" and "separable" on MNIST, "wide" on
            CIFAR-10.

    Raises:
        InputError: There is no such recipe.

    Example:
        >>> recipe("mnist").attack["epsilon"]
        0.3
    """
    known = _known()
    if dataset not in known:
        raise InputError("dataset", expected=f"one of {', '.join(known)}", received=repr(dataset))
    if name not in known[dataset]:
        raise InputError(f"recipe for {dataset}", expected=f"one of {', '.join(known[dataset])}", received=repr(name))
    return Recipe(**known[dataset][name])


@functools.cache
def _known() -> dict[str, dict[str, dict[str, Any]]]:
    text = resources.files(__package__).joinpath("recipes.json").read_text(encoding="utf-8")
    content: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
    return content
