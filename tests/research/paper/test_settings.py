from __future__ import annotations

import dataclasses

import pytest

from research.paper.settings import PaperSettings, part_of
from tf_laq.errors import InputError


def _queries(settings, dataset):
    return settings.strong_battery(dataset).only(["square"]).columns[0].attacks["white"].queries


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_the_papers_battery_has_its_nine_attacks_as_they_are(dataset):
    battery = PaperSettings.of(dataset).paper_battery(dataset)
    assert battery.names == (
        "clean", "cw_l2", "fgsm_weak", "fgsm_strong", "pgd", "bim", "mim", "gaussian", "uniform",
    )  # fmt: skip
    assert not battery.second_search


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_the_worst_case_has_square_and_a_second_search(dataset):
    battery = PaperSettings.of(dataset).strong_battery(dataset)
    white = [column.name for column in battery.columns if "white" in column.attacks]
    assert white == ["apgd_ce", "apgd_t", "square"]
    assert (battery.ensemble, battery.second_search) == (True, True)


@pytest.mark.parametrize(("dataset", "images", "queries"), [("mnist", 10_000, 5000), ("cifar10", 1000, 500)])
def test_every_table_has_a_thousand_images_or_more(dataset, images, queries):
    settings = PaperSettings.of(dataset)
    assert (settings.examples, settings.strong_examples) == (images, 1000)
    assert _queries(settings, dataset) == queries


def test_another_network_of_a_data_set_has_its_own_selection_and_else_the_settings_of_the_data_set():
    settings, own = PaperSettings.of("mnist"), PaperSettings.of("mnist", "madry")
    assert own.selection != settings.selection
    assert dataclasses.replace(own, selection=settings.selection, attacks=settings.attacks) == settings


def test_a_network_of_real_size_has_fewer_images_and_all_of_them_without_an_attack():
    settings = PaperSettings.of("cifar10", "wrn4")
    assert (settings.clean_examples, settings.examples, settings.strong_examples) == (1000, 200, 100)
    assert settings.for_selection().clean_examples == 1000
    assert _queries(settings, "cifar10") == _queries(settings.for_selection(), "cifar10") == 1000


@pytest.mark.parametrize(
    ("dataset", "network"), [("mnist", ""), ("mnist", "madry"), ("mnist", "separable"), ("cifar10", "")]
)
def test_selections_are_judged_by_square_with_5000_queries(dataset, network):
    settings = PaperSettings.of(dataset, network).for_selection()
    assert _queries(settings, dataset) == 5000
    assert settings.examples == settings.strong_examples == 1000


def test_a_selection_changes_its_own_attacks_only():
    selection = {
        **PaperSettings.of("cifar10").selection,
        "attacks": {"square": {"queries": 7}, "apgd_t": {"targets": 2}},
    }
    settings = PaperSettings.of("cifar10", selection=selection)
    assert (_queries(settings, "cifar10"), _queries(settings.for_selection(), "cifar10")) == (500, 7)
    targeted = settings.for_selection().strong_battery("cifar10").only(["apgd_t"]).columns[0].attacks["white"]
    assert (targeted.steps, targeted.targets) == (25, 2)


def test_settings_change_the_attacks_of_both_batteries():
    settings = PaperSettings.of("cifar10", attacks={"cw_l2": {"steps": 7}, "square": {"queries": 9}})
    assert _queries(settings, "cifar10") == 9
    slow = settings.paper_battery("cifar10").only(["cw_l2"]).columns[0].attacks
    assert [(a.steps, a.confidence) for a in slow.values()] == [(7, 1.0), (7, 0.0)]


def test_a_part_of_a_battery_has_the_wanted_attacks_only():
    battery = part_of(PaperSettings.of("mnist").paper_battery("mnist"), ["pgd", "uniform"], "gray")
    assert [(column.name, list(column.attacks)) for column in battery.columns] == [("pgd", ["gray"])]


def test_unknown_data_and_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="dataset: expected one of digits, mnist, cifar10"):
        PaperSettings.of("imagenet")
    with pytest.raises(InputError, match="network of mnist: expected one of madry, separable"):
        PaperSettings.of("mnist", "resnet")
    with pytest.raises(InputError, match="strong_examples"):
        PaperSettings.of("mnist", strong_examples=0)
