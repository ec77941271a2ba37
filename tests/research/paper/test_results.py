from __future__ import annotations

import csv
import dataclasses
import re

import pytest

import tf_laq as laq
from research.cache import Cache
from research.paper.claims import claims
from research.paper.norms import differing
from research.paper.results import reproduce, write_index
from research.paper.roles import Networks
from research.paper.tables import accuracy_table
from tf_laq.errors import InputError


@pytest.fixture(scope="module")
def made(models, changes, tmp_path_factory):
    """Return the folder of the results that need few attacks, and the lines that were announced."""
    folder, said = tmp_path_factory.mktemp("results"), []
    for what in ("table1", "table5", "figure1"):
        reproduce(what, "digits", out=folder, cache=folder / "runs", models=models, announce=said.append, **changes)
    return folder, said


@pytest.fixture(scope="module")
def table(study, tmp_path_factory):
    """Return the folder of Table 3."""
    folder = tmp_path_factory.mktemp("table")
    accuracy_table(study, "the command", number=3).write(folder)
    return folder


def rows_of(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_result_has_its_files_and_stands_in_the_index(made):
    folder, _ = made
    names = ["digits_figure1", "digits_table1", "digits_table5"]
    assert sorted(path.stem for path in folder.glob("*.csv")) == names
    assert [path.stem for path in folder.glob("*.png")] == ["digits_figure1"]
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in index for name in names)


@pytest.mark.slow
def test_the_claims_have_their_numbers_and_stand_in_the_index(study, tmp_path):
    remarks = tmp_path / "remarks"
    remarks.mkdir()
    (remarks / "digits_claim2.md").write_text("From {adv.pgd} to {q2.pgd}.", encoding="utf-8")
    claims(study, "the command").write(tmp_path)
    write_index(tmp_path)
    rows = rows_of(tmp_path, "digits_claims")
    assert len(rows) == 3
    assert all(float(row["worst_case_percent"]) <= float(row["pgd_percent"]) for row in rows)
    adv, q2 = (f"{100 * study.correct(network, 'pgd', 'white').mean():.1f}" for network in ("adv", "q2"))
    for name in ("README.md", "digits_claims.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert f"From {adv} to {q2}." in text
        assert len([line for line in text.splitlines() if re.match(r"#+ \d\. ", line)]) == 4
    assert (tmp_path / "digits_claims.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_first_claim_is_not_judged_without_a_network_of_another_training(study, tmp_path):
    trained = {role: study.networks.trained[role] for role in ("adv", "twin")}
    networks = dataclasses.replace(study.networks, trained=trained)
    page = claims(dataclasses.replace(study, networks=networks), "the command").write(tmp_path).read_text("utf-8")
    first = page.partition("## 1. ")[2].partition("## 2. ")[0]
    assert "Not judged" in first
    assert "|" not in first
    assert "Left out, for want of a network: `orig` (trained without an attack)" in page


def test_a_row_of_a_table_counts_the_images_that_the_network_gets_right(table, study):
    rows = rows_of(table, "digits_table3")
    assert {row["network"] for row in rows} == {"adv", "q2", "lq"}
    row = next(r for r in rows if (r["network"], r["column"], r["knowledge"]) == ("q2", "pgd", "white"))
    right = study.correct("q2", "pgd", "white")
    assert (int(row["correct"]), int(row["count"])) == (right.sum(), 24)
    lost = 100 * (study.correct("adv", "pgd", "white").mean() - right.mean())
    assert float(row["drop_points"]) == pytest.approx(lost, abs=0.01)
    worst = next(r for r in rows if (r["network"], r["column"]) == ("lq", "worst_case"))
    assert (int(worst["correct"]), int(worst["count"])) == (study.worst("lq").sum(), 12)
    page = (table / "digits_table3.md").read_text(encoding="utf-8")
    assert "Worst case: right whatever was tried within 0.15 in L-inf." in page


def test_a_page_names_its_networks_settings_seed_and_command_and_what_is_missing(made):
    page = (made[0] / "digits_table1.md").read_text(encoding="utf-8")
    assert "PGD(epsilon=0.165" in page
    assert re.search(r"`adv` \(adversarially trained, [0-9a-f]{12}\)", page)
    assert (
        "Seed 0. Made by `python scripts/reproduce.py table1 --dataset digits --models ROLE=PATH,... --examples 24"
        in page
    )
    assert "`fl` (trained by feedback learning)" in (made[0] / "digits_figure1.md").read_text(encoding="utf-8")
    assert made[1].count("No network in the role fl (trained by feedback learning): what needs it is left out.") == 3


def test_gray_box_rows_are_left_out_without_a_twin_and_the_page_says_so(models, changes, tmp_path):
    only = {role: models[role] for role in ("adv",)}
    quick = {**changes, "examples": 4, "strong_examples": 4}
    reproduce("table1", "digits", out=tmp_path, cache=tmp_path, models=only, announce=str, **quick)
    assert {row["knowledge"] for row in rows_of(tmp_path, "digits_table1")} == {"none"}
    assert "No gray-box rows: there is no network in the role `twin`" in (tmp_path / "digits_table1.md").read_text()


def test_two_runs_with_the_same_seed_make_the_same_files(table, study, tmp_path):
    said = []
    again = dataclasses.replace(study, cache=Cache(tmp_path / "runs"), announce=said.append)
    accuracy_table(again, "the command", number=3).write(tmp_path)
    assert len([line for line in said if "images" in line]) > 10
    for name in ("digits_table3.csv", "digits_table3.md"):
        assert (tmp_path / name).read_bytes() == (table / name).read_bytes()


def test_finished_results_are_written_again_without_an_attack(made, models, changes, tmp_path):
    said, cache = [], made[0] / "runs"
    for what in ("table1", "figure1"):
        reproduce(what, "digits", out=tmp_path, cache=cache, models=models, announce=said.append, **changes)
    assert not [line for line in said if "images" in line]
    for name in ("digits_table1.csv", "digits_figure1.png"):
        assert (tmp_path / name).read_bytes() == (made[0] / name).read_bytes()


def test_a_remark_gets_its_numbers_from_the_table(models, changes, tmp_path):
    (tmp_path / "remarks").mkdir()
    (tmp_path / "remarks" / "digits_table5.md").write_text("Over {layers} layers lq has {lq.L_dW}.\n", encoding="utf-8")
    reproduce("table5", "digits", out=tmp_path, cache=tmp_path, models=models, announce=str, **changes)
    row = next(r for r in rows_of(tmp_path, "digits_table5") if (r["network"], r["quantity"]) == ("lq", "L_dW"))
    expected = f"Over {row['layers']} layers lq has {float(row['mean']):.2f} ± {float(row['deviation']):.2f}."
    assert expected in (tmp_path / "digits_table5.md").read_text(encoding="utf-8")


def test_the_lipschitz_table_is_over_the_layers_that_differ(models, made):
    adv = models["adv"]
    q2, lq = laq.uniform(adv, "log", 3, progress=False), laq.search(adv, policy="paper", progress=False)
    errors = [
        b.error_norm
        for a, b in zip(q2.entries, lq.entries, strict=True)
        if (a.quantizer, a.bits) != (b.quantizer, b.bits)
    ]
    row = next(r for r in rows_of(made[0], "digits_table5") if (r["network"], r["quantity"]) == ("lq", "L_dW"))
    assert (int(row["layers"]), float(row["mean"])) == (len(errors), pytest.approx(sum(errors) / len(errors), abs=1e-4))
    assert differing(q2, q2) == []


def test_more_plans_become_rows_of_their_own(models):
    networks = Networks.of(models, {"wide": laq.uniform(models["adv"], "linear", 8, progress=False)})
    assert list(networks.evaluated) == ["adv", "q1", "q2", "lq", "wide"]
    with pytest.raises(InputError, match="names of their own"):
        Networks.of(models, {"lq": networks.quantized["wide"].plan})


def test_the_plan_within_a_budget_keeps_it(models):
    networks = Networks.of(models, average_bits=3.2)
    assert list(networks.quantized) == ["q1", "q2", "lq", "budget"]
    assert 3 < networks.quantized["budget"].plan.average_bits <= 3.2


def test_roles_are_checked(models):
    with pytest.raises(InputError, match="role: expected one of orig, adv, twin, fl"):
        Networks.of({**models, "advers": models["adv"]})
    with pytest.raises(InputError, match="a network in the role adv"):
        Networks.of({"twin": models["twin"]})


@pytest.mark.parametrize(
    ("what", "dataset", "message"),
    [
        ("table9", "mnist", "what: expected one of table1"),
        ("table2", "mnist", "one of table1, table3, table5, figure1, claims, selection, all for mnist"),
        ("table1", "imagenet", "dataset: expected one of cifar10, digits, mnist"),
    ],
)
def test_results_that_there_are_not_are_refused(what, dataset, message, models, tmp_path):
    with pytest.raises(InputError, match=message):
        reproduce(what, dataset, out=tmp_path, cache=tmp_path, models=models)
