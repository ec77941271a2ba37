from __future__ import annotations

import dataclasses

import pytest

from tf_laq.attacks import Battery, Column, get
from tf_laq.errors import InputError

DATASETS = ("digits", "mnist", "cifar10")
ATTACKED = ("cw_l2", "fgsm_weak", "fgsm_strong", "pgd", "bim", "mim")
COLUMNS = ("clean", *ATTACKED, "gaussian", "uniform", "square")
ITERATIVE = ("pgd", "bim", "mim")


@pytest.fixture(params=[(d, p) for d in DATASETS for p in ("standard", "paper")], ids="-".join)
def preset(request):
    return Battery.preset(*request.param)


def attacks_of(battery, name):
    return next(column.attacks for column in battery.columns if column.name == name)


def test_presets_have_the_ten_columns_of_the_table_in_order(preset) -> None:
    assert preset.names == COLUMNS


def test_presets_say_where_their_strengths_come_from(preset) -> None:
    assert len(preset.source) > 40


def test_presets_know_what_each_attacker_knows(preset) -> None:
    for column in preset.columns:
        if column.name in ("clean", "gaussian", "uniform"):
            assert set(column.attacks) == {"none"}
        elif column.name == "square":
            assert set(column.attacks) == {"white"}
        else:
            assert set(column.attacks) == {"gray", "white"}


def test_the_strong_fgsm_is_stronger_than_the_weak_one(preset) -> None:
    for knowledge in ("gray", "white"):
        weak, strong = (attacks_of(preset, f"fgsm_{name}")[knowledge].epsilon for name in ("weak", "strong"))
        assert weak < strong


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", ITERATIVE)
def test_only_the_papers_gray_box_iterative_attacks_are_stronger(dataset, name) -> None:
    standard, paper = (attacks_of(Battery.preset(dataset, p), name) for p in ("standard", "paper"))
    assert standard["gray"] == standard["white"]
    assert paper["gray"].epsilon > paper["white"].epsilon


@pytest.mark.parametrize(("dataset", "epsilon"), [("mnist", 0.3), ("cifar10", 8 / 255)])
@pytest.mark.parametrize("name", [*ITERATIVE, "fgsm_strong", "square"])
def test_standard_strengths_are_those_of_the_field(dataset, epsilon, name) -> None:
    assert attacks_of(Battery.preset(dataset), name)["white"].epsilon == pytest.approx(epsilon)


@pytest.mark.parametrize("dataset", DATASETS)
def test_strong_is_an_ensemble_at_the_strength_of_standard(dataset, tmp_path) -> None:
    strong = Battery.preset(dataset, "strong")
    assert strong.ensemble
    assert strong.names == ("clean", "uniform", "mim", "apgd_ce", "apgd_t", "square")
    strength = attacks_of(Battery.preset(dataset), "square")["white"].epsilon
    found = {attack.epsilon for name in strong.names[1:] for attack in attacks_of(strong, name).values()}
    assert found == {strength}
    assert attacks_of(strong, "square")["white"].queries == 5000
    assert len(strong.source) > 40
    strong.save(tmp_path / "battery.json")
    assert Battery.load(tmp_path / "battery.json") == strong


def test_a_battery_survives_its_file(preset, tmp_path) -> None:
    preset.save(tmp_path / "battery.json")
    assert Battery.load(tmp_path / "battery.json") == preset


def test_only_keeps_the_order_of_the_battery() -> None:
    assert Battery.preset("mnist").only(["pgd", "clean"]).names == ("clean", "pgd")
    assert Battery.preset("mnist").only("pgd").names == ("pgd",)


# Where the data sets' presets differ, the rule is the digits' one, or that of the two others.
AS_IN_THE_PRESETS = {
    "digits": ("clean", "fgsm_weak", "fgsm_strong", "pgd", "bim", "mim", "uniform", "square"),
    "mnist": ("clean", "fgsm_strong", "gaussian", "uniform"),
    "cifar10": ("clean", "fgsm_strong", "gaussian", "uniform", "square"),
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_radius_gives_the_numbers_of_the_presets(dataset) -> None:
    preset, strong = (Battery.preset(dataset, name) for name in ("standard", "strong"))
    epsilon = attacks_of(preset, "fgsm_strong")["white"].epsilon
    battery = Battery.within(epsilon)
    assert battery.names == tuple(name for name in COLUMNS if name != "cw_l2")
    for name in AS_IN_THE_PRESETS[dataset]:
        assert attacks_of(battery, name) == attacks_of(preset, name)
    assert Battery.within(epsilon, preset="strong").columns == strong.columns
    assert Battery.within(epsilon, preset="strong").ensemble
    assert Battery.within(epsilon, preset="quick").columns == battery.only(["clean", "pgd"]).columns


def test_an_l2_radius_has_attacks_of_that_norm_only(tmp_path) -> None:
    names = (*COLUMNS[:7], "uniform", "square")
    for preset, columns in {"standard": names, "quick": ("clean", "pgd")}.items():
        assert Battery.within(0.5, norm="l2", preset=preset).names == columns
    for preset in ("standard", "strong"):
        battery = Battery.within(0.5, norm="l2", preset=preset)
        attacks = [attack for column in battery.columns[1:] for attack in column.attacks.values()]
        assert {getattr(attack, "norm", "l2") for attack in attacks} == {"l2"}
        assert all(attack.epsilon <= 0.5 for attack in attacks)
        assert attack_free_of_gradients(battery) == ("l2", 0.5, {"standard": 1000, "strong": 5000}[preset])
        battery.save(tmp_path / "battery.json")
        assert Battery.load(tmp_path / "battery.json") == battery


def attack_free_of_gradients(battery):
    square = attacks_of(battery, "square")["white"]
    assert not square.needs_gradient
    return square.norm, square.epsilon, square.queries


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Battery.preset("imagenet"), r"dataset: expected one of digits, mnist, cifar10"),
        (lambda: Battery.preset("mnist", "hard"), r"preset: expected one of standard, paper, strong"),
        (lambda: Battery.preset("mnist").only(["pdg"]), r"column: expected one of clean, .* Received: 'pdg'"),
        (lambda: Battery.preset("mnist").only([]), r"columns: "),
        (lambda: Battery(name="none", columns=()), r"columns: "),
        (lambda: Battery.within(0), r"epsilon: expected a radius above 0. Received: 0"),
        (lambda: Battery.within(8), r"epsilon: expected at most 1 in L-inf"),
        (lambda: Battery.within("8/255"), r"epsilon: expected a finite number"),
        (lambda: Battery.within(0.3, norm="l1"), r"norm: expected one of linf, l2"),
        (lambda: Battery.within(0.3, preset="paper"), r"preset: expected one of quick, standard, strong"),
        (lambda: Column(name="pgd", attacks={}), r"column pgd: "),
        (lambda: Column(name="pgd", attacks={"black": get("clean")}), r"column pgd: .*black"),
        (lambda: Column(name="pgd", attacks={"white": "pgd"}), r"column pgd, white: expected an Attack"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(call, message) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_a_battery_without_a_second_search_stays_one_and_older_files_have_it() -> None:
    battery = dataclasses.replace(Battery.preset("digits"), second_search=False)
    assert Battery.from_json(battery.to_json()) == battery != Battery.preset("digits")
    older = {key: value for key, value in battery.to_dict().items() if key != "second_search"}
    assert Battery.from_dict(older).second_search
