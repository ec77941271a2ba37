"""The programs' arguments, and what they compute from results without running one."""

import importlib
import json
import os

import numpy as np
import pytest

import tf_laq as laq
from research.checks import (
    anchors,
    architectures,
    builders,
    cards,
    converted,
    equality,
    gradient_part,
    keras_versions,
    plans,
    runtimes,
)
from tf_laq import models
from tf_laq.attacks import PGD, Battery
from tf_laq.errors import InputError
from tf_laq.evaluation import Outcome, RobustnessReport, Share


@pytest.mark.parametrize(
    "name",
    [
        "anchors",
        "architectures",
        "autoattack",
        "cards",
        "converted",
        "equality",
        "gradient_part",
        "keras_versions",
        "plans",
        "runtimes",
    ],
)
def test_every_program_explains_itself(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"research.checks.{name}").main(["--help"])
    text = capsys.readouterr().out
    assert f"python -m research.checks.{name}" in text
    assert ("--results" in text) == (name not in ("cards", "converted"))


@pytest.fixture
def report():
    right = {"clean": 4, "apgd_ce": 3, "square": 2}
    battery = Battery.preset("mnist", "strong").only(right)
    outcomes = [
        Outcome.record(np.arange(5) < count, model="m", column=c, knowledge="none" if c == "clean" else "white")
        for c, count in right.items()
    ]
    return RobustnessReport(models=("m",), surrogates=(), battery=battery, count=5, seed=0, outcomes=tuple(outcomes))


def test_the_gradient_based_part_leaves_square_out(report):
    name, clean, gray, part, worst, above = gradient_part.row(report, "m")
    assert (name, clean, gray, part, above) == ("m", "80.0", "80.0", "60.0", "20.0")
    assert worst.startswith("40.0 [")


def test_a_tie_may_be_decided_otherwise_and_nothing_else():
    expected = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.float32)
    found = np.array([[1.0, 0.0], [0.4, 0.5], [1.0, 0.0]], np.float32)
    cells, differing = equality.compare(expected, found, np.array([0, 0, 0]))
    assert cells[:5] == [3, 2, 2, 1, 1]
    assert differing == [2]


def test_a_file_in_a_runtime_is_exact_or_differs_or_was_refused_or_crashed(tmp_path):
    expected = np.array([1.0, 2.0], np.float32)
    for name, outputs in (("exact", expected), ("differs", expected + 0.1)):
        np.save(tmp_path / f"{name}.npy", outputs)
    (tmp_path / "refused.error").write_text("no such operator")
    offered = next(iter(runtimes.RUNTIMES))
    files = [
        runtimes.Exported(name, name, "2.7", frozenset({"int4"}), expected)
        for name in ("exact", "differs", "refused", "crashed")
    ]
    assert [file.outcome(tmp_path)[0] for file in files] == [file.name for file in files]
    found, mismatches = runtimes.row(offered, files, tmp_path)
    assert found[2:7] == [4, 4, 1, 1, 3]
    assert found[-1] == "int4"
    assert "no such operator" in mismatches[1]


def test_versions_compare_by_their_numbers(tmp_path):
    newer = runtimes.Exported("file", "file", "2.20", frozenset(), np.ones(1, np.float32))
    (tmp_path / "file.error").touch()
    assert runtimes.row("tensorflow-cpu==2.12.1", [newer], tmp_path)[1] == []


def test_the_page_of_some_architectures_keeps_the_rows_of_the_others(tmp_path):
    first, second = list(builders.ARCHITECTURES)[:2]
    blank = [""] * (len(architectures.HEADERS) - 5)
    architectures.write({first: [[first, "1", "p", "l", "exact", *blank]]}, tmp_path)
    found = architectures.earlier(tmp_path)
    found[second] = [[second, "1", "p", "l", "refused: why", *blank]]
    architectures.write(found, tmp_path)
    page = (tmp_path / f"{architectures.PAGE}.md").read_text()
    assert "2 architectures, 2 exports: 1 exact, 1 refused by name, 0 failed." in page


def test_every_architecture_has_a_plan_of_mixed_settings():
    model = builders.ARCHITECTURES["residual MLP"]()
    plan = architectures.mixed(model)
    assert len({(entry.quantizer, entry.bits) for entry in plan.entries}) == len(plan.entries) == 5


def test_the_log_of_a_training_is_rounded_and_may_be_missing(tmp_path):
    assert cards.log_of_epochs(tmp_path / "none.csv") == ()
    (tmp_path / "log.csv").write_text("loss,accuracy\n0.12345678,1\n")
    assert cards.log_of_epochs(tmp_path / "log.csv") == ({"loss": 0.123457, "accuracy": 1.0},)


def test_a_score_says_its_interval_and_count():
    score = cards.score("none", Share(90, 100), seed=3)
    assert (score["accuracy"], score["wilson_95"], score["seed"]) == (0.9, [0.8256, 0.9448], 3)
    assert cards.percent(score) == "90.00 [82.6, 94.5], N = 100"


def test_a_network_that_no_name_stands_for_gets_no_card(tmp_path):
    record = {"dataset": "digits", "recipe": {"model": None, "model_options": {}}, "seed": 0}
    (tmp_path / "own.training.json").write_text(json.dumps(record))
    arguments = ["--about", "it", "--minutes", "1", "--command", "laq train", "--model", str(tmp_path / "own.keras")]
    with pytest.raises(InputError, match=r"model: expected one that tf_laq.models builds.*a network of its own"):
        cards.main(["digits_own", *arguments])


def test_the_page_of_the_trained_networks_is_the_one_of_their_cards():
    assert cards.readme() == (cards.SAVED_MODELS / "README.md").read_text(encoding="utf-8")


def test_the_range_over_seeds_is_in_words():
    assert keras_versions.spread([1.0, 3.0]) == "2.0 (1.0 to 3.0)"


def test_rows_of_plans_are_read_by_their_names(mnist_data):
    model = models.load("mnist_separable_adv", keras=3)
    images = mnist_data.train.images[:32]
    attack = PGD(epsilon=0.3, steps=1)
    plain, bits = plans.quantized(model, "kmeans-3", images, attack, mnist_data)
    matched, same_bits = plans.quantized(model, "kmeans-3+match", images, attack, mnist_data)
    assert bits == same_bits == 3.0
    of_textures, _ = plans.quantized(model, "kmeans-3+textures", images, attack, mnist_data)
    assert not np.array_equal(of_textures(images), matched(images))
    kernels = [pair for pair in zip(plain.layers, matched.layers, strict=True) if hasattr(pair[0], "kernel")]
    assert all(np.array_equal(a.kernel, b.kernel) for a, b in kernels)
    assert not np.array_equal(plain(images), matched(images))
    _, bits = plans.quantized(model, "budget-2.5", images, attack, mnist_data)
    assert 2 < bits <= 2.5
    with pytest.raises(InputError, match="rows: expected guarded, budget-BITS, calibrated-BITS or QUANTIZER-BITS"):
        plans.quantized(model, "something", images, attack, mnist_data)
    with pytest.raises(InputError, match=r"rows: expected \+match or \+textures, after a plan"):
        plans.quantized(model, "kmeans-3+matched", images, attack, mnist_data)


def test_anchors_are_attacks_in_one_ball():
    assert {attack.epsilon for attack in anchors.ATTACKS.values()} == {anchors.EPSILON}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_a_file_has_float16_where_that_is_exact_and_loads_as_float32(tmp_path):
    model = models.build("digits_cnn", seed=0)
    kernel, *others = model.get_weights()
    model.set_weights([kernel.astype(np.float16), *others])
    path, whole = tmp_path / "packed.keras", tmp_path / "whole.keras"
    path.write_bytes(cards.packed(model))
    model.save(whole)
    assert path.stat().st_size < whole.stat().st_size
    for given, loaded in zip(model.get_weights(), laq.load_model(path).get_weights(), strict=True):
        assert loaded.dtype == np.float32
        assert given.tobytes() == loaded.tobytes()


def test_a_log_and_scores_in_percent_become_those_of_a_card():
    assert converted.epochs([{"epoch": 0, "loss": 2.5, "val_accuracy": 55.0, "val_pgd10": 34.0}]) == (
        {"epoch": 0.0, "batch_loss": 2.5, "val_accuracy": 0.55, "val_robust_accuracy": 0.34},
    )
    clean, attacked = converted.scores({"clean, first 1,000": 80.6, "PGD-10 (2/255), first 300": 48.7})
    assert (clean["attack"], clean["count"], clean["accuracy"]) == ("none", 1000, 0.806)
    assert (attacked["count"], round(attacked["accuracy"] * 300)) == (300, 146)


def test_weights_that_are_not_those_of_the_network_are_refused(monkeypatch):
    monkeypatch.setattr(converted, "OPTIONS", {"width": 1})
    weights = {
        f"{layer.name}__{converted._name(weight)}": weight.numpy().astype(np.float16)
        for layer in models.build("wide_resnet", width=1, seed=0).layers
        for weight in layer.weights
    }
    taken = converted.network(weights).get_weights()
    assert [weight.dtype for weight in taken] == [np.float32] * len(weights)
    del weights["logits__bias"]
    with pytest.raises(SystemExit, match="logits__bias is only in the network"):
        converted.network(weights)
