"""Recipes of training, kept as data in `recipes.json`, and for any other data set in `general_recipes.json`."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of, real, whole
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.models import names, options_of

OPTIMIZERS = ("adam", "sgd")
AUGMENTATIONS = ("none", "crop_and_flip")
PRECISIONS = ("float32", "mixed_bfloat16")


@typed
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained, except the images and the seed.

    Attributes:
        model: Name of the network for `models.build`; None where the network is the user's to choose.
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

    model: str | None
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
        if self.model is not None:
            one_of("model", self.model, names())
        for option, value in self.model_options.items():
            one_of("model_options", option, [] if self.model is None else options_of(self.model))
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


@typed
def recipe(
    dataset: str | os.PathLike[str] | Dataset,
    name: str = "fast",
    *,
    epsilon: float | None = None,
    norm: str = "linf",
) -> Recipe:
    """Return a recipe by the name of its data set and its own.

    Any data set but "digits", "mnist" and "cifar10" has the general recipes "fast", "full", "plain" and "finetune".
    These name no network, and their steps follow from the radius.

    Args:
        dataset: A data set, or its name.
        name: "fast" for adversarial training; "full" for more of it, on all but the digits; "plain" for training
            without an attack; "finetune" for `fine_tune`. Other networks: "madry" and "separable" on MNIST, "wide" on
            CIFAR-10.
        epsilon: The radius of the attack in pixel units of [0, 1]; the steps keep their proportion to it. None for the
            radius of the recipe, which the general ones do not have.
        norm: "linf" or "l2"; the latter with `epsilon` only.

    Raises:
        InputError: There is no such recipe or norm, the radius is out of range or missing, or there is one for a
            recipe without an attack.

    Example:
        >>> recipe("mnist").attack["epsilon"]
        0.3
        >>> recipe("flowers.npz", "full", epsilon=0.5, norm="l2").attack
        {'epsilon': 0.5, 'steps': 7, 'step_size': 0.125, 'norm': 'l2'}
    """
    source = dataset.name if isinstance(dataset, Dataset) else os.fspath(dataset)
    known = _content("recipes.json")
    own = known.get(source)
    recipes = _content("general_recipes.json") if own is None else own
    if name not in recipes:
        raise InputError(f"recipe for {source}", expected=f"one of {', '.join(recipes)}", received=repr(name))
    made = Recipe(**recipes[name])
    if made.attack is None:
        for argument, value, unsaid in (("epsilon", epsilon, None), ("norm", norm, "linf")):
            if value != unsaid:
                expected = f"none for the recipe {name}, which has no attack"
                raise InputError(argument, expected=expected, received=repr(value))
        return made
    if epsilon is None:
        if own is None or norm != "linf":
            expected = f"a radius; in linf, the recipes for {', '.join(known)} have their own"
            raise InputError("epsilon", expected=expected, received=f"none for {source} in {norm}")
        return made
    return dataclasses.replace(made, attack=_scaled(made.attack, epsilon, norm))


def _scaled(attack: Mapping[str, Any], epsilon: float, norm: str) -> dict[str, Any]:
    """Return settings of PGD in another ball."""
    from tf_laq.attacks.pgd import PGD
    from tf_laq.attacks.radius import check_radius

    check_radius(epsilon, norm)
    scaled = PGD(**{**attack, "norm": norm}).with_epsilon(epsilon).to_dict()
    return {setting: scaled[setting] for setting in (*attack, *(["norm"] if norm != "linf" else []))}


@functools.cache
def _content(file: str) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    )
    return content
