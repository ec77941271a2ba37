from __future__ import annotations

import dataclasses
import json
from importlib import resources

import pytest

from tf_laq import datasets
from tf_laq.attacks.pgd import PGD
from tf_laq.errors import InputError
from tf_laq.training import Recipe, recipe

KNOWN = {
    dataset: list(recipes)
    for dataset, recipes in json.loads(
        resources.files("tf_laq.training").joinpath("recipes.json").read_text(encoding="utf-8")
    ).items()
}
PAIRS = [(dataset, name) for dataset, names in KNOWN.items() for name in names]


def test_every_data_set_has_a_recipe_by_default() -> None:
    assert sorted(KNOWN) == datasets.names()
    for dataset in KNOWN:
        assert recipe(dataset) == recipe(dataset, "fast")


@pytest.mark.parametrize(("dataset", "name"), PAIRS)
def test_every_recipe_has_an_attack_that_can_cross_its_ball_and_says_what_it_is_for(dataset: str, name: str) -> None:
    chosen = recipe(dataset, name)
    assert chosen.about
    assert (chosen.attack is None) == (name == "plain")
    if chosen.attack is not None:
        attack = PGD(**chosen.attack)
        assert attack.steps * attack.step >= attack.epsilon


def test_a_recipe_can_be_changed_in_one_setting() -> None:
    short = dataclasses.replace(recipe("digits"), epochs=1)
    assert short.epochs == 1 and short.attack == recipe("digits").attack


@pytest.mark.parametrize("name", ["fast", "full", "finetune"])
def test_any_other_data_set_has_recipes_whose_steps_follow_from_the_radius(name) -> None:
    for epsilon, norm in ((8 / 255, "linf"), (0.5, "l2"), (2.0, "l2")):
        chosen = recipe("pets.npz", name, epsilon=epsilon, norm=norm)
        attack = PGD(**chosen.attack)
        assert (attack.epsilon, attack.norm, chosen.model) == (epsilon, norm, None)
        assert attack.steps * attack.step >= 1.5 * epsilon
        assert chosen.about
    assert recipe("pets.npz", "plain").attack is None


def test_a_radius_takes_the_place_of_that_of_a_recipe_with_the_steps_in_proportion() -> None:
    for dataset, name in PAIRS:
        own = recipe(dataset, name)
        if own.attack is not None:
            half = recipe(dataset, name, epsilon=own.attack["epsilon"] / 2)
            assert half.attack["step_size"] == pytest.approx(own.attack["step_size"] / 2)
            assert dataclasses.replace(half, attack=own.attack) == own
    assert recipe("digits", epsilon=0.5, norm="l2").attack["norm"] == "l2"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"epsilon: expected a radius; .* digits, mnist, cifar10 have their own. Received: none for pets"),
        ({"epsilon": 0}, r"epsilon: expected a radius above 0"),
        ({"epsilon": 8}, r"epsilon: expected at most 1 in L-inf"),
        ({"epsilon": 0.1, "norm": "l1"}, r"norm: expected one of linf, l2"),
        ({"epsilon": 0.1, "name": "plain"}, r"epsilon: expected none for the recipe plain, which has no attack"),
        ({"norm": "l2", "name": "plain"}, r"norm: expected none for the recipe plain"),
        ({"epsilon": 0.1, "name": "wide"}, r"recipe for pets: expected one of fast, full, plain, finetune"),
    ],
)
def test_a_general_recipe_needs_a_radius(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        recipe("pets", **settings)
    with pytest.raises(InputError, match="epsilon: expected a radius.*none for digits in l2"):
        recipe("digits", norm="l2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("imagenet",), "digits, mnist, cifar10"), (("digits", "slow"), "recipe for digits")],
)
def test_an_unknown_recipe_is_refused_with_the_known_ones(arguments: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipe(*arguments)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", "lenet"),
        ("epochs", 0),
        ("batch_size", 1.5),
        ("learning_rate", float("nan")),
        ("learning_rate_warmup", 1.0),
        ("optimizer", "lion"),
        ("weight_decay", -1e-4),
        ("augmentation", "cutout"),
        ("epsilon_warmup", 1.1),
        ("attack", {"epsilon": -0.1}),
        ("attack", {"epsilon": 0.1, "stepz": 3}),
        ("model_options", {"widht": 2}),
        ("precision", "float8"),
        ("lipschitz_penalty", -1e-4),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, value: object) -> None:
    settings = dataclasses.asdict(recipe("digits")) | {setting: value}
    with pytest.raises(InputError, match=setting if setting != "attack" else "epsilon|attack"):
        Recipe(**settings)
