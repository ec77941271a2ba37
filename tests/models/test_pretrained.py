from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import models
from tf_laq.errors import InputError
from tf_laq.models import pretrained as module
from tf_laq.models.pretrained import Card

NAMES = sorted(models.trained())


def large(name: str):
    """Return the name, of the second network of the largest kind for the slow tests only."""
    return pytest.param(name, marks=pytest.mark.slow) if name == "cifar10_wrn4_twin" else name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a copy of the folder of trained networks that `load` reads from."""
    copied = tmp_path / "saved_models"
    shutil.copytree(module._folder() / "mnist_adv", copied / "mnist_adv")
    monkeypatch.setattr(module, "_folder", lambda: copied)
    return copied


def test_the_networks_of_the_published_figures_are_there() -> None:
    assert {"mnist_adv", "mnist_twin", "mnist_orig"} <= set(NAMES)


@pytest.mark.parametrize("name", [large(name) for name in NAMES])
@pytest.mark.parametrize("keras", [2, 3])
def test_a_network_computes_the_same_in_either_keras(name: str, keras: int) -> None:
    card = models.trained()[name]
    model = models.load(name, keras=keras)
    assert model.__class__.__module__.startswith("tf_keras" if keras == 2 else "keras")
    images = np.random.default_rng(0).random((4, *models.input_shape(card.network)), dtype=np.float32)
    reference = laq.load_model(module._folder() / name / module.WEIGHTS)
    np.testing.assert_allclose(model(images), reference(images), rtol=1e-5, atol=1e-4)
    assert model.output_shape[1] == 10


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_how_to_train_the_network_again_and_how_it_scored(name: str) -> None:
    card = models.trained()[name]
    assert card.name == name and card.about and card.command.startswith(("laq ", "python scripts/"))
    assert card.network in models.names() and card.minutes > 0
    for score in card.scores:
        low, high = score["wilson_95"]
        assert low <= score["accuracy"] <= high and score["count"] >= 100
    assert Card.from_json(card.to_json()) == card


def test_the_file_of_a_network_is_at_most_16_megabytes() -> None:
    for name in NAMES:
        assert (module._folder() / name / module.WEIGHTS).stat().st_size <= 16e6


@pytest.mark.parametrize("name", ["cifar10_wrn4_adv", large("cifar10_wrn4_twin")])
def test_what_a_file_stores_in_float16_is_float32_in_either_keras(name: str) -> None:
    weights = models.load(name).get_weights()
    assert sum(weight.size for weight in weights) == 7_366_138
    for weight, other in zip(weights, models.load(name, keras=3).get_weights(), strict=True):
        assert weight.dtype == other.dtype == np.float32
        assert weight.tobytes() == other.tobytes()
        assert weight.ndim == 1 or np.array_equal(weight.astype(np.float16), weight)


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_file_is_refused_with_its_path(folder, damage: str) -> None:
    path = folder / "mnist_adv" / module.WEIGHTS
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"model\.keras.*SHA-256.*" + hashlib.sha256(content).hexdigest()):
        models.load("mnist_adv")


def test_a_damaged_card_is_refused_with_its_path(folder) -> None:
    (folder / "mnist_adv" / module.CARD).write_text("{")
    with pytest.raises(InputError, match=r"card\.json"):
        models.load("mnist_adv")


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="mnist_adv"):
        models.load("imagenet_adv")
