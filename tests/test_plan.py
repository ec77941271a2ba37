"""The quantization plan as a table and as a file."""

import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tf_laq.errors import InputError
from tf_laq.plan import LeftAlone, PlanEntry, QuantizationPlan

PLAN = QuantizationPlan(
    policy="by hand",
    norm="spectral",
    entries=(
        PlanEntry("conv1", "kernel", (3, 3, 1, 5), "linear", 3, 2.0, 2.1, 0.25, 0.2, True, "passes"),
        PlanEntry("block/dense", "kernel", (10, 4), "log", 8, 4.0, 4.4, 1.0, 0.0, False, "no setting passes"),
        PlanEntry("head", "kernel", (4, 2), None, 32, 1.0),
    ),
    left_alone=(LeftAlone("bn", "BatchNormalization", "normalisation parameters stay float32"),),
)


def test_bits_and_bytes_are_counted_over_all_weights():
    assert [entry.bytes for entry in PLAN.entries] == [17, 40, 32]  # 135 bits are 17 bytes
    assert PLAN.bytes == 89
    assert PLAN.weights == 93
    assert PLAN.average_bits == pytest.approx((45 * 3 + 40 * 8 + 8 * 32) / 93)


def test_the_table_shows_every_column_and_every_layer_left_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = str(PLAN)
    for shown in (
        "conv1", "3x3x1x5", "linear", "2.000", "2.100", "1.050", "0.250", "20.000", "17", "passes",
        "block/dense", "NO", "float32", "bn (BatchNormalization): normalisation parameters stay float32",
        "average", "codes: 89 bytes (372 in float32)",
    ):  # fmt: skip
        assert shown in text


LONG = dataclasses.replace(
    PLAN,
    policy="guarded (relative error 0.25; 10 times as strict at the input)",
    entries=tuple(
        PlanEntry(f"block_{number}_depthwise", "depthwise_kernel", (3, 3, 48, 1), "kmeans", 6, 0.27, 0.27, 0.004, 0.02,
                  reason="relative error 0.0156, limit 0.02; linear fails to 8")
        for number in range(3)
    ),
    left_alone=tuple(
        LeftAlone(f"{kind}_{number}", kind, reason)
        for number in range(6)
        for kind, reason in (("BatchNormalization", "normalisation parameters stay float32"), ("ReLU", "no weights"))
    ),
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("plan", [PLAN, LONG], ids=["short", "long"])
def test_the_table_is_no_wider_than_the_terminal_and_keeps_what_was_chosen_and_why(plan, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(plan).splitlines()
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("layer")).split()
    assert [name for name in heading if name in ("layer", "quantizer", "bits", "met", "why")] == [
        "layer", "quantizer", "bits", "met", "why",
    ]  # fmt: skip
    rows = [line.split() for line in lines]
    for entry in plan.entries:
        row = next(row for row in rows if row[:1] == [entry.layer])
        assert (entry.quantizer or "float32") in row
        assert str(entry.bits) in row
    words = " ".join(line[line.rindex("  ") + 2 :] if "  " in line else line for line in lines).split()
    for entry in plan.entries:
        assert set(entry.reason.split()) <= set(words)


def test_where_there_is_no_terminal_a_line_has_at_most_120_characters(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "__stdout__", nowhere)
        assert 100 < max(map(len, str(LONG).splitlines())) <= 120


def test_layers_that_are_left_alone_for_one_reason_are_one_line():
    text = str(LONG)
    assert "  6 BatchNormalization layers: normalisation parameters stay float32\n" in text
    assert text.endswith("  6 ReLU layers: no weights")


def test_a_plan_survives_saving_and_loading(tmp_path):
    PLAN.save(tmp_path / "plan.json")
    assert QuantizationPlan.load(tmp_path / "plan.json") == PLAN


def test_a_plan_without_entries_has_no_bits():
    plan = dataclasses.replace(PLAN, entries=())
    assert (plan.average_bits, plan.weights, plan.bytes) == (0, 0, 0)
    assert "0.00 bits a weight" in str(plan)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], r"plan\.json: .*not JSON.*truncated"),
        (lambda text: "", r"plan\.json: .*not JSON"),
        (lambda text: "[1, 2]", r"plan\.json: expected a whole tf_laq quantization plan"),
        (
            lambda text: text.replace('"version": 2', '"version": 99'),
            r"plan\.json: .*version 2.*Received: version 99",
        ),
        (
            lambda text: text.replace("quantization plan", "shopping list"),
            r"plan\.json: .*document: tf_laq shopping",
        ),
        (
            lambda text: text.replace('"entries"', '"things"'),
            r"plan\.json: .*fields that do not fit.*entries",
        ),
        (
            lambda text: text.replace('"bits": 3', '"bits": 17'),
            r"plan\.json: entries\[0\]: bits: expected a whole number from 1 to 16",
        ),
        (lambda text: text.replace('"bits": 8', '"bits": "8"'), r"plan\.json: entries\[1\]\.bits: .*`int`.*'8'"),
        (lambda text: text.replace('"norm": 2.0', '"norm": -2.0'), r"plan\.json: entries\[0\]\.norm: .*>= 0.*-2\.0"),
        (lambda text: text.replace('"norm": 2.0', '"norm": NaN'), r"plan\.json: .*not JSON"),
        (lambda text: text.replace('"norm": 2.0', '"norm": 1e999'), r"plan\.json: .*not JSON"),
        (lambda text: "[" * 100_000, r"plan\.json: .*not JSON"),
        (lambda text: text.replace('"bits": 3,', '"bits": 5,'), r"plan\.json: .*checksum.*other content.*Restore it"),
        (lambda text: re.sub('"checksum": ".*",', "", text), r"plan\.json: .*Received: no checksum"),
        (lambda text: text.replace('"linear"', '"cubic"'), r"quantizer: expected one of"),
    ],
)
def test_a_damaged_plan_file_is_refused_with_what_is_wrong(tmp_path, damage, message):
    path = tmp_path / "plan.json"
    path.write_text(damage(PLAN.to_json()))
    with pytest.raises(InputError, match=message):
        QuantizationPlan.load(path)


def test_a_file_that_was_laid_out_anew_is_the_same_plan():
    assert QuantizationPlan.from_json(json.dumps(json.loads(PLAN.to_json()), sort_keys=True)) == PLAN


def test_a_plan_of_before_the_checksums_is_read():
    content = {"document": PLAN.document, "version": 1, **PLAN.to_dict()}
    assert QuantizationPlan.from_json(json.dumps(content)) == PLAN
    with pytest.raises(InputError, match="checksum"):
        QuantizationPlan.from_json(PLAN.to_json().replace('"version": 2', '"version": 1'))


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    PLAN.save(path)
    monkeypatch.setenv("TF_LAQ_MAX_GIGABYTES", "1e-6")
    with pytest.raises(InputError, match=r"plan\.json: .*at most 1e-06 GB in memory.*TF_LAQ_MAX_GIGABYTES"):
        QuantizationPlan.load(path)
    monkeypatch.setenv("TF_LAQ_MAX_GIGABYTES", "a lot")
    with pytest.raises(InputError, match="TF_LAQ_MAX_GIGABYTES: expected a positive number"):
        QuantizationPlan.load(path)


def test_a_missing_plan_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json: expected a readable"):
        QuantizationPlan.load(tmp_path / "absent.json")


def test_a_path_that_cannot_be_written_is_refused_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="path: expected a place that can be written"):
        PLAN.save(tmp_path / "file" / "plan.json")
    with pytest.raises(InputError, match="path: expected a file"):
        PLAN.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    from tf_laq._internal import files

    path = tmp_path / "plan.json"
    PLAN.save(path)
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert QuantizationPlan.load(path) == PLAN
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_an_entry_without_a_quantizer_has_32_bits():
    with pytest.raises(InputError, match="bits: expected 32 without a quantizer"):
        PlanEntry("a", "kernel", (2, 2), None, 8, 1.0)


def test_the_file_is_plain_json_with_kind_and_version():
    content = json.loads(PLAN.to_json())
    assert (content["document"], content["version"]) == ("tf_laq quantization plan", 2)
    assert content["entries"][0]["layer"] == "conv1"
