from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from research.paper.plans import Candidate, Judged
from research.paper.selection import Standing, candidates, draw_front, pareto, selection_table
from tf_laq import quantizers
from tf_laq.evaluation import Difference


@pytest.fixture(scope="module")
def made(study, tmp_path_factory):
    """Return the folder of the table, its rows by network, and the result."""
    folder = tmp_path_factory.mktemp("selection")
    result = selection_table(study, "the command")
    result.write(folder)
    with (folder / "digits_selection.csv").open(encoding="utf-8") as file:
        return folder, {row["network"]: row for row in csv.DictReader(file)}, result


def test_the_candidates_keep_the_limit_in_their_name(study):
    limits = {name: [3.5] for name in ("budget", "hawq", "ans", "random")}
    few = {
        **study.settings.selection,
        "guarded": {"even": ["linear", "clipped"]},
        "by_limit": limits,
        "after": {"corrected": ["guarded"], "matched": ["budget-3.5", "calibrated-3"], "fine-tuned": ["lq"]},
    }
    settings = dataclasses.replace(study.settings, selection=few)
    found = {candidate.name: candidate for candidate in candidates(dataclasses.replace(study, settings=settings))}
    limited = ["budget-3.5", "hawq-3.5", "ans-3.5", "random-3.5"]
    policies = ["lq", "guarded", "guarded-even", *limited]
    assert list(found) == ["adv", "q2", *policies, "guarded+bc", "budget-3.5+sm", "calibrated-3+sm", "lq+ft"]
    assert {entry.quantizer for entry in found["guarded-even"].plan.entries} <= {"linear", "clipped"}
    assert "kmeans" in {entry.quantizer for entry in found["guarded"].plan.entries}
    assert all(found[name].plan.average_bits <= 3.5 for name in limited)
    assert found["calibrated-3+sm"].plan.average_bits <= 3.0
    assert found["lq+ft"].plan == found["lq"].plan == study.networks.quantized["lq"].plan


def test_each_attack_leaves_no_more_than_the_one_before(made):
    _, rows, _ = made
    assert list(rows) == ["adv", "q2", "lq", "guarded", "lq+ft"]
    for row in rows.values():
        shares = [float(row[f"{column}_percent"]) for column in ("clean", "pgd", "square", "worst_case")]
        assert shares == sorted(shares, reverse=True)
        assert float(row["lower"]) <= shares[-1] <= float(row["upper"])
    lost = float(rows["adv"]["worst_case_percent"]) - float(rows["q2"]["worst_case_percent"])
    assert float(rows["q2"]["drop_points"]) == pytest.approx(lost, abs=0.011)


def test_the_worst_case_of_a_row_is_that_of_the_papers_tables(made, study):
    for name in ("adv", "q2", "lq"):
        assert float(made[1][name]["worst_case_percent"]) == pytest.approx(100 * study.worst(name).mean(), abs=0.01)


def test_the_size_is_that_of_the_codes_and_of_the_rest_in_float32(made):
    weights, biases = 64 * 64 + 64 * 10, 64 + 10
    assert int(made[1]["adv"]["bytes"]) == 4 * (weights + biases)
    assert int(made[1]["q2"]["bytes"]) == 3 * weights // 8 + 4 * biases


def test_the_front_has_those_that_none_beats(made):
    points = {name: (int(row["bytes"]), float(row["worst_case_percent"])) for name, row in made[1].items()}
    front = {name for name, row in made[1].items() if row["front"] == "1"}
    assert front
    for name, (size, right) in points.items():
        smaller = [each for other, each in points.items() if other != name and each[0] <= size and each[1] >= right]
        assert (name in front) == all(each == (size, right) for each in smaller)
    page = (made[0] / "digits_selection.md").read_text(encoding="utf-8")
    assert page.count("| **") == len(front)
    assert (made[0] / "digits_selection.png").read_bytes().startswith(b"\x89PNG")
    assert pareto([(1, 5), (1, 5), (2, 5)]) == [True, True, False]


def test_what_was_fine_tuned_is_on_the_grid_and_kept(made, study):
    (path,) = study.cache.folder.glob("digits-weights-lq+ft-*.npz")
    plan = study.networks.quantized["lq"].plan
    with np.load(path) as arrays:
        kernels = [values for values in arrays.values() if values.ndim == 2]
    assert [np.unique(values).size <= 2**entry.bits for values, entry in zip(kernels, plan.entries, strict=True)] == [
        True,
        True,
    ]
    said = []
    other = dataclasses.replace(study, announce=said.append)
    assert selection_table(other, "the command").rows == made[2].rows
    assert said == []


def test_uniform_settings_of_any_quantizer_are_drawn():
    right = dict.fromkeys(("clean", "pgd", "square", "worst_case"), np.array([True, False]))
    judged = [Judged(Candidate(kind, kind, None), right) for kind in (*quantizers.names(), "ternary")]
    standings = [Standing(each, 1000, Difference(0.0, 0.0, 0.0), True) for each in judged]
    assert draw_front("digits", standings).startswith(b"\x89PNG")
