from __future__ import annotations

import pytest

from tf_laq.errors import InputError
from tf_laq.paper.settings import Settings, part_of


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_the_papers_battery_has_its_nine_attacks_as_they_are(dataset):
    battery = Settings.of(dataset).paper_battery(dataset)
    assert battery.names == (
        "clean", "cw_l2", "fgsm_weak", "fgsm_strong", "pgd", "bim", "mim", "gaussian", "uniform",
    )  # fmt: skip
    assert not battery.second_search


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_square_comes_before_the_white_box_attacks_that_would_leave_it_less(dataset):
    battery = Settings.of(dataset).strong_battery(dataset)
    white = [column.name for column in battery.columns if "white" in column.attacks]
    assert white == ["square", "apgd_ce", "apgd_t"]
    assert (battery.ensemble, battery.second_search) == (True, True)


def test_settings_change_the_attacks_of_both_batteries():
    settings = Settings.of("cifar10")
    assert settings.strong_battery("cifar10").only(["square"]).columns[0].attacks["white"].queries == 500
    slow = settings.paper_battery("cifar10").only(["cw_l2"]).columns[0].attacks
    assert [(a.steps, a.confidence) for a in slow.values()] == [(30, 1.0), (30, 0.0)]


def test_a_part_of_a_battery_has_the_wanted_attacks_only():
    battery = part_of(Settings.of("mnist").paper_battery("mnist"), ["pgd", "uniform"], ["none", "gray"])
    assert [(column.name, list(column.attacks)) for column in battery.columns] == [
        ("pgd", ["gray"]),
        ("uniform", ["none"]),
    ]


def test_unknown_data_and_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="dataset: expected one of digits, mnist, cifar10"):
        Settings.of("imagenet")
    with pytest.raises(InputError, match="strong_examples"):
        Settings.of("mnist", strong_examples=0)
