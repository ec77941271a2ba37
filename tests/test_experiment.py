from __future__ import annotations

import dataclasses
import hashlib
import warnings

import numpy as np
import pytest

from tf_laq import experiment, training
from tf_laq.errors import InputError
from tf_laq.policies import UnsatisfiedWarning
from tf_laq.saving import load_model
from tf_laq.tflite import load

RECIPE = dataclasses.replace(training.recipe("digits"), epochs=2, model_options={"width": 4}, epsilon_warmup=0.0)
SETTINGS = {"recipe": RECIPE, "examples": 32, "attacks": ["clean", "fgsm_weak", "gaussian"]}


def run(folder, **changes):
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnsatisfiedWarning)
        result = experiment.run("digits", out=folder, announce=lines.append, progress=False, **{**SETTINGS, **changes})
    return result, lines


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, *run(folder)


def fingerprints(folder):
    paths = [folder / "models" / f"{name}.keras" for name in ("adv", "twin")]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_every_file_of_the_results_is_there(first):
    folder, _, _ = first
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found >= {
        "plan.json", "plan_q1.json", "plan_q2.json", "plan.txt", "robustness.json", "robustness.csv",
        "robustness.txt", "robustness.md", "lq.tflite", "export.json", "sizes.txt", "experiment.json",
        "report.html", "plots/robust_accuracy.png", "plots/bits_per_layer.png", "plots/error_per_layer.png",
        *(f"models/{name}.keras" for name in ("adv", "twin", "q1", "q2", "lq")),
    }  # fmt: skip


def test_the_four_models_are_evaluated_with_the_twin_as_surrogate(first):
    _, result, _ = first
    assert result.robustness.models == ("adv", "q1", "q2", "lq")
    assert result.robustness.surrogates == ("twin",)
    assert result.robustness.count == 32
    assert {p.policy for n, p in result.plans.items() if n != "lq"} == {
        "uniform linear, 3 bits",
        "uniform log, 3 bits",
    }


def test_the_twin_is_another_network(first):
    folder, _, _ = first
    adv, twin = fingerprints(folder)
    assert adv != twin


def test_the_file_is_the_saved_quantized_model(first):
    from tf_laq import datasets

    folder, _, _ = first
    images = datasets.load("digits").test.images[:50]
    expected = load_model(folder / "models" / "lq.keras")(images, training=False).numpy().argmax(1)
    assert (load(folder / "lq.tflite")(images).argmax(1) == expected).all()


def test_the_result_prints_plan_table_sizes_parity_and_folder(first):
    folder, result, _ = first
    text = str(result)
    for part in ("Algorithm 1", "worst case [95 %]", "bits a weight", "parity:", str(folder)):
        assert part in text


def test_every_stage_is_announced(first):
    _, _, lines = first
    assert [line[:5] for line in lines] == [f"[{step}/6]" for step in range(1, 7)]


def test_the_saved_result_reads_back_equal(first):
    folder, result, _ = first
    assert experiment.ExperimentResult.load(folder / "experiment.json") == result


def test_a_second_run_uses_the_trained_models_and_finds_the_same(first):
    folder, result, _ = first
    before = fingerprints(folder)
    again, lines = run(folder)
    assert fingerprints(folder) == before
    assert again.reused == ("adv", "twin")
    assert sum("Use the model trained earlier" in line for line in lines) == 2
    assert again.robustness == result.robustness


@pytest.mark.slow
def test_another_seed_recipe_or_a_damaged_file_is_trained_anew(tmp_path):
    from tf_laq import datasets

    digits = datasets.load("digits")
    few = dataclasses.replace(digits, train=datasets.Split(digits.train.images[:128], digits.train.labels[:128]))
    path = tmp_path / "adv.keras"
    recipe = dataclasses.replace(RECIPE, epochs=1)
    other = dataclasses.replace(recipe, learning_rate=0.001)

    def reused(recipe, seed, **more):
        more = {"announce": lambda line: None, "progress": False, **more}
        return experiment.trained_model(few, recipe, 2, seed, path, **more)[1]

    assert not reused(recipe, 0)
    log = np.genfromtxt(tmp_path / "adv.log.csv", delimiter=",", names=True)
    assert log["epoch"] == 0 and log["val_robust_accuracy"] >= 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adv.keras", "adv.log.csv", "adv.training.json"]
    assert reused(dataclasses.replace(recipe, about="the same in other words"), 0)
    assert not reused(recipe, 1)
    assert not reused(other, 1)
    path.write_bytes(path.read_bytes()[:1000])
    assert not reused(other, 1)
    assert not reused(other, 1, retrain=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": ["deepfool"]}, "column"),
        ({"preset": "hard"}, "preset"),
        ({"recipe": "slow"}, "recipe for digits"),
        ({"recipe": "plain"}, "adversarial training"),
        ({"examples": 0}, "examples"),
        ({"surrogates": ["sister"]}, "surrogates"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "results", **changes)
    assert not list(tmp_path.iterdir())
