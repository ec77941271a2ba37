from __future__ import annotations

import dataclasses
import hashlib
import warnings

import pytest

from tf_laq import demo, training
from tf_laq.compression import Compression, Rule
from tf_laq.errors import InputError
from tf_laq.policies import UnsatisfiedWarning

RECIPE = dataclasses.replace(training.recipe("digits"), epochs=2, model_options={"width": 4}, epsilon_warmup=0.0)
SETTINGS = {"recipe": RECIPE, "examples": 32, "preset": "standard"}


def run(folder, **changes):
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnsatisfiedWarning)
        result = demo.run("digits", out=folder, announce=lines.append, progress=False, **{**SETTINGS, **changes})
    return result, lines


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, *run(folder)


def fingerprint(folder):
    return hashlib.sha256((folder / "adv.keras").read_bytes()).hexdigest()


def test_every_file_of_the_results_is_there(first):
    folder, _, _ = first
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found >= {"adv.keras", "compression.json", "report.html", "recommended/model.tflite"}


def test_the_papers_models_are_attacked_in_full_beside_the_recommended_one(first):
    _, result, _ = first
    assert set(result.robustness.models) >= {"original", "q1", "q2", "lq", result.recommendation.name}
    policies = {name: result.model(name).plan.policy for name in ("q1", "q2", "lq")}
    assert policies["q1"].startswith("uniform linear, 3 bits")
    assert policies["q2"].startswith("uniform log, 3 bits")
    assert policies["lq"].startswith("Algorithm 1")
    assert result.robustness.count == 32


def test_a_second_run_uses_the_trained_network_and_finds_the_same(first):
    folder, result, _ = first
    before = fingerprint(folder)
    again, lines = run(folder)
    assert fingerprint(folder) == before
    assert "Use the model trained earlier" in lines[0]
    assert again == result == Compression.load(folder / "compression.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "hard"}, "preset"),
        ({"recipe": "slow"}, "recipe for digits"),
        ({"recipe": "plain"}, "adversarial training"),
        ({"examples": 0}, "examples"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "results", **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_recommended_file_withstands_a_search_by_its_scores_as_its_model_does(tmp_path):
    from tf_laq import datasets, evaluation
    from tf_laq.attacks import Battery

    result = demo.run("digits", out=tmp_path, progress=False, rule=Rule(max_loss=1.0))
    test = datasets.load("digits").test
    found = evaluation.evaluate(
        {"file": str(tmp_path / "recommended" / "model.tflite")},
        test.images,
        test.labels,
        battery=Battery.preset("digits", "strong").only(["clean", "square"]),
        check_strength=False,
        progress=False,
    )
    # The worst case has the attacks by gradients too, so it is at most what the search by scores leaves.
    left = found.worst_case("file").value - result.robustness.worst_case(result.recommendation.name).value
    assert 0 <= left <= 0.03
    assert result.file_check.same == result.file_check.count == 500
