from __future__ import annotations

import dataclasses
import hashlib
import warnings

import pytest

from tf_laq import demo, training
from tf_laq.errors import InputError
from tf_laq.policies import UnsatisfiedWarning
from tf_laq.report import Summary
from tf_laq.saving import load_model
from tf_laq.tflite import load

RECIPE = dataclasses.replace(training.recipe("digits"), epochs=2, model_options={"width": 4}, epsilon_warmup=0.0)
SETTINGS = {"recipe": RECIPE, "examples": 32, "attacks": ["clean", "fgsm_weak", "gaussian"]}


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


def test_plan_and_result_print_as_tables_with_sizes_and_parity(first):
    folder, result, _ = first
    text = f"{result.plans['lq']}\n{result}"
    for part in ("Algorithm 1", "worst case [95 %]", "bits a weight", "lq.tflite: ", "parity:"):
        assert part in text
    assert (folder / "plan.txt").read_text() in f"{text}\n"
    assert (folder / "sizes.txt").read_text() in text


def test_every_stage_is_announced(first):
    _, _, lines = first
    assert [line[:5] for line in lines] == [f"[{step}/6]" for step in range(1, 7)]


def test_the_saved_result_reads_back_equal(first):
    folder, result, _ = first
    assert Summary.load(folder / "experiment.json") == result


def test_the_report_is_drawn_again_from_the_folder(first):
    folder, _, _ = first
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert Summary.load(folder / "experiment.json").write_report(folder) == folder / "report.html"
    assert (folder / "report.html").read_text() == page


def test_a_second_run_uses_the_trained_models_and_finds_the_same(first):
    folder, result, _ = first
    before = fingerprints(folder)
    again, lines = run(folder)
    assert fingerprints(folder) == before
    reused = [line for line in lines if "Use the model trained earlier" in line]
    assert [name in line for name, line in zip(["adv.keras", "twin.keras"], reused, strict=True)] == [True, True]
    assert again.robustness == result.robustness


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
