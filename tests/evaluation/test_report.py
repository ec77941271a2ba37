from __future__ import annotations

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tf_laq.attacks import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation import Outcome, RobustnessReport

MODELS = ("adv", "lq")
SURROGATES = ("twin", "float")
BATTERY = Battery.preset("digits", "paper")


def make(correct, count, median=None) -> RobustnessReport:
    """Return a report whose outcome of each cell is what `correct` returns for it."""
    outcomes = []
    for model in MODELS:
        for column in BATTERY.columns:
            for knowledge in column.attacks:
                for surrogate in SURROGATES if knowledge == "gray" else (None,):
                    cell = (model, column.name, knowledge, surrogate)
                    fields = dict(zip(("model", "column", "knowledge", "surrogate"), cell, strict=True))
                    distortion = median if column.name == "cw_l2" and knowledge == "white" else None
                    outcomes.append(Outcome.record(correct(*cell), **fields, median_distortion=distortion))
    return RobustnessReport(
        models=MODELS,
        surrogates=SURROGATES,
        battery=BATTERY,
        count=count,
        seed=7,
        outcomes=tuple(outcomes),
    )


@st.composite
def reports(draw):
    count = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    robust = draw(st.floats(0.5, 1.0))
    median = draw(st.none() | st.floats(0, 10))
    return make(lambda *_: random.random(count) < robust, count, median)


@settings(max_examples=40)
@given(reports())
def test_the_worst_case_is_at_most_the_least_cell_and_counts_examples(report) -> None:
    for model in MODELS:
        cells = [o for o in report.outcomes if o.model == model]
        worst = report.worst_case(model)
        assert worst.value <= min(o.correct.mean() for o in cells)
        survivors = [all(o.correct[i] for o in cells) for i in range(report.count)]
        assert report.surviving(model).tolist() == survivors
        assert worst.value <= min(report.worst_case(model, known).value for known in ("gray", "white"))
        assert (report.surviving(model, "white") <= report.surviving(model, "gray")).all()


@settings(max_examples=40)
@given(reports())
def test_a_report_survives_json(report) -> None:
    assert RobustnessReport.from_json(report.to_json()) == report


@settings(max_examples=20)
@given(reports())
def test_csv_holds_every_outcome_and_worst_case(report) -> None:
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert len(rows) == len(report.outcomes) + 3 * len(MODELS)
    for row, outcome in zip(rows, report.outcomes, strict=False):
        assert (row["model"], row["column"], row["knowledge"]) == (
            outcome.model,
            outcome.column,
            outcome.knowledge,
        )
        assert row["surrogate"] == (outcome.surrogate or "")
        assert float(row["accuracy"]) == outcome.correct.mean()
        assert float(row["lower"]) <= float(row["accuracy"]) <= float(row["upper"])
        assert int(row["correct"]) == outcome.correct.sum()
        assert row["seed"] == "7"
        assert "name" in json.loads(row["settings"])
    worst = [row for row in rows if row["column"] == "worst_case" and row["knowledge"] == "all"]
    assert [float(row["accuracy"]) for row in worst] == [report.worst_case(m).value for m in MODELS]


@pytest.fixture
def report():
    """Return 20 examples: each attack knowledge breaks some, each surrogate others, and noise one."""

    def correct(model, column, knowledge, surrogate):
        right = np.ones(20, bool)
        right[:2] = column == "clean" or knowledge == "none"
        if knowledge == "white":
            right[2:5] = False
        if surrogate == "twin":
            right[5:7] = False
        if surrogate == "float":
            right[6:9] = False
        if column == "gaussian":
            right[19] = False
        return right

    return make(correct, 20, median=0.75)


def test_a_gray_cell_counts_what_any_surrogate_breaks_and_keeps_each(report) -> None:
    assert report.accuracy("lq", "pgd", "gray", "twin").successes == 16
    assert report.accuracy("lq", "pgd", "gray", "float").successes == 15
    assert report.accuracy("lq", "pgd", "gray").successes == 14


def test_worst_cases_by_knowledge_include_noise(report) -> None:
    assert report.worst_case("lq", "white").successes == 20 - 2 - 3 - 4 - 1
    assert report.worst_case("lq", "gray").successes == 20 - 2 - 4 - 1
    assert report.worst_case("lq").successes == 20 - 2 - 3 - 4 - 1


def test_the_table_prints_the_papers_pairs_and_the_worst_case(report) -> None:
    lines = str(report).splitlines()
    assert lines[0].split("  ")[0] == "model"
    heading = "clean cw_l2 fgsm_weak fgsm_strong pgd bim mim gaussian uniform square worst case [95 %]"
    assert lines[0].split() == ["model", *heading.split()]
    cells = "100.0 70.0/75.0 70.0/75.0 70.0/75.0 70.0/75.0 70.0/75.0 70.0/75.0 95.0 100.0 -/75.0"
    assert lines[2].split() == ["adv", *cells.split(), "50.0", "[29.9,", "70.1]"]
    text = str(report)
    for part in (
        "N = 20",
        "seed = 7",
        "twin, float",
        "epsilon=0.165",
        "cw_l2, median white-box distortion: adv 0.75",
    ):
        assert part in text


def test_markdown_is_a_table_with_the_same_cells_and_notes(report) -> None:
    table, notes = report.to_markdown().split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [rows[0], *rows[2:]] == report.rows()
    assert notes.splitlines() == [f"- {line}" for line in [*report.caption(), *report.notes()]]


def test_a_truncated_file_is_refused(report, tmp_path) -> None:
    path = tmp_path / "report.json"
    report.save(path)
    assert RobustnessReport.load(path) == report
    path.write_text(path.read_text()[:-100])
    with pytest.raises(InputError, match=r"report.json: expected a whole tf_laq robustness report.*truncated"):
        RobustnessReport.load(path)


@pytest.mark.parametrize("bits", ["ff", "zz", "ffffffff"])
def test_a_file_with_the_wrong_number_of_bits_is_refused(report, bits) -> None:
    content = json.loads(report.to_json())
    content["outcomes"][0]["bits"] = bits
    with pytest.raises(InputError, match="outcome of clean on adv: expected 20 bits"):
        RobustnessReport.from_json(json.dumps(content))


def test_reports_by_other_surrogates_are_not_joined(report) -> None:
    other = dataclasses.replace(report, models=("q1", "q2"), surrogates=("float", "twin"))
    with pytest.raises(InputError, match="reports: expected reports of different models, .* by the same surrogates"):
        RobustnessReport.joined([report, other])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: r.correct("lq", "pgd"),
            "outcome: expected a model among adv, lq.*Received: lq, pgd, none",
        ),
        (lambda r: r.correct("lq", "pdg", "white"), "Received: lq, pdg, white"),
        (lambda r: r.accuracy("lq", "pgd", "gray", "other"), "Received: lq, pgd, gray, other"),
        (lambda r: r.worst_case("q9"), "model: expected one of adv, lq"),
        (lambda r: r.worst_case("lq", "black"), "knowledge: expected one of none, gray, white"),
    ],
)
def test_cells_that_the_report_lacks_are_refused(report, call, message) -> None:
    with pytest.raises(InputError, match=message):
        call(report)


def of(report, models=MODELS, columns=BATTERY.names):
    """Return the part of a report that is about some models and columns."""
    outcomes = tuple(o for o in report.outcomes if o.model in models and o.column in columns)
    return dataclasses.replace(report, models=tuple(models), battery=BATTERY.only(columns), outcomes=outcomes)


@given(reports())
def test_reports_of_one_model_each_are_the_whole_together(report):
    parts = [of(report, [model]) for model in MODELS]
    assert RobustnessReport.joined(parts) == report
    for wrong in (parts[:1] * 2, [], [parts[0], dataclasses.replace(parts[1], surrogates=("twin",))]):
        with pytest.raises(InputError, match="reports: expected"):
            RobustnessReport.joined(wrong)


@given(
    reports(), st.sets(st.sampled_from(BATTERY.names[1:]), min_size=1, max_size=len(BATTERY.names) - 2), st.booleans()
)
def test_columns_that_precede_others_count_in_the_worst_case_and_leave_out_what_they_broke(report, first, ensemble):
    clean = BATTERY.names[0]
    rest = [name for name in BATTERY.names if name not in first]
    later = of(report, columns=rest)
    later = dataclasses.replace(later, battery=dataclasses.replace(later.battery, ensemble=ensemble))
    earlier = of(report, columns=[clean, *first])
    whole = later.preceded_by(earlier)
    assert whole.battery.names == (clean, *[name for name in BATTERY.names if name in first], *rest[1:])
    for model in MODELS:
        assert (whole.surviving(model) == report.surviving(model)).all()
        for column in rest[1:]:
            if whole.has(model, column, "white"):
                left = whole.correct(model, column, "white")
                before = report.correct(model, column, "white")
                assert (left == (before & earlier.surviving(model) if ensemble else before)).all()
