"""Rank correlations with a known answer, and the files."""

import csv
import dataclasses

import numpy as np
import pytest

from research.layers.ranking import ranks
from research.layers.results import result_of
from research.layers.studying import Loss


def with_loss(trial, lost, **predictors):
    loss = Loss({"square": np.arange(100) >= lost}, 0.0, 0.0)
    return dataclasses.replace(trial, loss=loss, predictors={**dict.fromkeys(trial.predictors, 1.0), **predictors})


def test_within_and_across_layers_are_told_apart(trials):
    # Losses rise by setting, and by more from the first layer to the second.
    made = [
        with_loss(
            trial,
            lost=10 * row + 1,
            error=float(row),
            relative_error=float(row % 4 - 10 * (row // 4)),
            inf_error=float(row // 4),
        )
        for row, trial in enumerate(trials)
    ]
    found = {rank.predictor: rank for rank in ranks(made)}
    assert (found["error"].overall.value, found["error"].within, found["error"].across) == pytest.approx((1, 1, 1))
    assert (found["relative_error"].within, found["relative_error"].across) == pytest.approx((1, -1))
    assert (found["inf_error"].within, found["inf_error"].across) == (None, pytest.approx(1))
    assert found["gradient"].overall is None
    assert ranks(made)[0].predictor == "error"
    lower, upper = found["relative_error"].clustered.lower, found["relative_error"].clustered.upper
    assert lower < found["relative_error"].overall.lower or upper > found["relative_error"].overall.upper


def test_page_table_and_plots_hold_the_trials(study, trials, tmp_path):
    (tmp_path / "remarks").mkdir()
    (tmp_path / "remarks" / "net_sensitivity.md").write_text("By hand: {error} and {error.across}.")
    result_of(study, trials, name="net", command="python scripts/sensitivity.py net").write(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("net_*")}
    assert set(written) == {f"net_sensitivity.{ending}" for ending in ("md", "csv", "png")}
    page = written["net_sensitivity.md"].decode()
    assert (
        "2 of 2 kernels, 8 settings" in page
        and "N = 12" in page
        and "Made by `python scripts/sensitivity.py net`" in page
    )
    assert "By hand: " in page and "{error}" not in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7}
    rows = list(csv.DictReader(written["net_sensitivity.csv"].decode().splitlines()))
    for row, trial in zip(rows, trials, strict=True):
        assert (row["layer"], int(row["bits"]), row["count"]) == (trial.tensor.layer, trial.quantizer.bits, "12")
        assert float(row["lost_square_percent"]) == pytest.approx(100 * trial.loss.lost().value, abs=0.01)
        assert float(row["error"]) == pytest.approx(trial.predictors["error"], rel=1e-4)
