from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tf_laq import datasets, models
from tf_laq._internal import files
from tf_laq.errors import InputError
from tf_laq.training import TrainingRecord, recipe, trained_model

RECIPE = dataclasses.replace(recipe("digits"), epochs=1, model_options={"width": 4}, epsilon_warmup=0.0)


@pytest.fixture
def few(digits):
    return dataclasses.replace(digits, train=datasets.Split(digits.train.images[:128], digits.train.labels[:128]))


@pytest.fixture
def reused(few, tmp_path):
    """Return a function that asks for a trained model and returns whether one that was there already was taken."""

    def ask(recipe, seed, **more):
        lines: list[str] = []
        more = {"announce": lines.append, "progress": False, **more}
        trained_model(few, recipe, tmp_path / "adv.keras", seed=seed, **more)
        assert [line.split()[0] in ("Use", "Train") for line in lines] == [True]
        return lines[0].startswith("Use the model trained earlier")

    return ask


def test_what_was_trained_with_lies_beside_the_model_and_the_same_is_not_trained_again(reused, tmp_path):
    assert not reused(RECIPE, 0)
    log = np.genfromtxt(tmp_path / "adv.log.csv", delimiter=",", names=True)
    assert log["epoch"] == 0 and log["val_robust_accuracy"] >= 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adv.keras", "adv.log.csv", "adv.training.json"]
    record = TrainingRecord.load(tmp_path / "adv.training.json")
    assert (record.dataset, record.recipe["epochs"], record.keras, record.seed) == ("digits", 1, 2, 0)
    assert reused(dataclasses.replace(RECIPE, about="the same in other words"), 0)


def test_a_network_of_the_users_own_is_trained_again_if_it_or_the_images_changed(reused, few, tmp_path):
    given = models.build("digits_cnn", seed=3, width=2)
    assert not reused(RECIPE, 0, model=given)
    record = TrainingRecord.load(tmp_path / "adv.training.json")
    assert (record.recipe["model"], record.recipe["model_options"], len(record.model)) == (None, {}, 64)
    assert reused(RECIPE, 0, model=given)
    assert not reused(RECIPE, 0, model=models.build("digits_cnn", seed=4, width=2))
    changed = dataclasses.replace(few, train=datasets.Split(1 - few.train.images, few.train.labels))
    lines: list[str] = []
    again = {"model": models.build("digits_cnn", seed=4, width=2), "progress": False, "announce": lines.append}
    trained_model(changed, RECIPE, tmp_path / "adv.keras", **again)
    assert lines[0].startswith("Train")


def test_a_network_of_the_same_weights_and_another_activation_is_trained_anew(reused):
    import tf_keras

    def network(activation):
        layers = [tf_keras.layers.Flatten(), tf_keras.layers.Dense(8, activation), tf_keras.layers.Dense(10)]
        model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), *layers])
        random = np.random.default_rng(0)
        model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
        return model

    assert not reused(RECIPE, 0, model=network("relu"))
    assert reused(RECIPE, 0, model=network("relu"))
    assert not reused(RECIPE, 0, model=network("elu"))


@pytest.mark.slow
def test_another_seed_recipe_or_a_damaged_file_is_trained_anew(reused, tmp_path):
    path = tmp_path / "adv.keras"
    other = dataclasses.replace(RECIPE, learning_rate=0.001)
    assert not reused(RECIPE, 0)
    assert not reused(RECIPE, 1)
    assert not reused(other, 1)
    path.write_bytes(path.read_bytes()[:1000])
    assert not reused(other, 1)
    assert not reused(other, 1, retrain=True)


def test_a_file_that_is_not_to_be_replaced_stays(few, tmp_path):
    path = tmp_path / "adv.keras"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"path: expected a new file.*adv\.keras, which was not"):
        trained_model(few, RECIPE, path, overwrite=False, progress=False)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_a_file_that_another_run_finished_in_the_meantime_stays(few, tmp_path, monkeypatch):
    locked = files.locked

    def just_free(path):
        path.write_text("theirs")
        return locked(path)

    monkeypatch.setattr(files, "locked", just_free)
    with pytest.raises(InputError, match=r"path: expected a new file.*adv\.keras, which was not"):
        trained_model(few, RECIPE, tmp_path / "adv.keras", overwrite=False, progress=False)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["theirs"]


def test_unknown_names_are_refused_before_anything_is_written(tmp_path):
    for dataset, name, message in (("imagenet", "fast", "epsilon: expected"), ("digits", "slow", "recipe for digits")):
        with pytest.raises(InputError, match=message):
            trained_model(dataset, name, tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())
