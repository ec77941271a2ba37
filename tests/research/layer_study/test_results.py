"""Rank correlations with a known answer, and the files."""

import csv
import dataclasses

import numpy as np
import pytest

from research.layer_study.ranking import ranks
from research.layer_study.results import result_of
from research.layer_study.studying import Loss
from tf_laq.evaluation import Outcome
from tf_laq.saving import save_model


def with_loss(point, lost, **predictors):
    outcome = Outcome.record(np.arange(100) >= lost, model="m", column="square", knowledge="white")
    return dataclasses.replace(
        point, loss=Loss((outcome,), 0.0, 0.0), predictors={**dict.fromkeys(point.predictors, 1.0), **predictors}
    )


def test_within_and_across_layers_are_told_apart(points):
    # Losses rise by setting, and by more from the first layer to the second.
    made = [
        with_loss(
            point,
            lost=10 * row + 1,
            error=float(row),
            relative_error=float(row % 4 - 10 * (row // 4)),
            inf_error=float(row // 4),
        )
        for row, point in enumerate(points)
    ]
    found = {rank.predictor: rank for rank in ranks(made)}
    assert (found["error"].overall.value, found["error"].within, found["error"].across) == pytest.approx((1, 1, 1))
    assert (found["relative_error"].within, found["relative_error"].across) == pytest.approx((1, -1))
    assert (found["inf_error"].within, found["inf_error"].across) == (None, pytest.approx(1))
    assert found["gradient"].overall is None
    assert ranks(made)[0].predictor == "error"
    lower, upper = found["relative_error"].clustered.lower, found["relative_error"].clustered.upper
    assert lower < found["relative_error"].overall.lower or upper > found["relative_error"].overall.upper


def test_page_table_and_plots_hold_the_points(study, points, tmp_path):
    (tmp_path / "remarks").mkdir()
    (tmp_path / "remarks" / "net_sensitivity.md").write_text("By hand: {error} and {error.across}.")
    result_of(study, points, name="net", command="laq sensitivity net").write(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("net_*")}
    assert set(written) == {f"net_sensitivity.{ending}" for ending in ("md", "csv", "png")}
    page = written["net_sensitivity.md"].decode()
    assert "2 of 2 kernels, 8 settings" in page and "N = 12" in page and "Made by `laq sensitivity net`" in page
    assert "By hand: " in page and "{error}" not in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7}
    rows = list(csv.DictReader(written["net_sensitivity.csv"].decode().splitlines()))
    for row, point in zip(rows, points, strict=True):
        assert (row["layer"], int(row["bits"]), row["count"]) == (point.tensor.layer, point.quantizer.bits, "12")
        assert float(row["lost_square_percent"]) == pytest.approx(100 * point.loss.lost().value, abs=0.01)
        assert float(row["error"]) == pytest.approx(point.predictors["error"], rel=1e-4)


def test_the_command_runs_on_a_file(model, tmp_path, capsys):
    from tf_laq.cli.main import main

    save_model(model, tmp_path / "small.keras")
    arguments = [
        "sensitivity", str(tmp_path / "small.keras"), "--dataset", "digits", "--out", str(tmp_path / "out"),
        "--cache", str(tmp_path / "c"), "--quantizer", "linear", "--bits", "2", "--max_settings", "1",
        "--examples", "3", "--steps", "1", "--queries", "2", "--epsilon", "0.02", "--calibration", "2",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "small_sensitivity.md" in capsys.readouterr().out
    assert "1 of 2 kernels, 1 settings" in (tmp_path / "out" / "small_sensitivity.md").read_text()


def test_a_file_needs_its_data_set(tmp_path, capsys):
    from tf_laq.cli.main import main

    assert main(["sensitivity", str(tmp_path / "some.keras")]) == 2
    assert "dataset: expected a data set for" in capsys.readouterr().err
    assert main(["sensitivity", str(tmp_path / "some.keras"), "--dataset", "digits"]) == 2
