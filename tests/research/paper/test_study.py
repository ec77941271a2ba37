from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from research.paper.study import without_second_search
from tf_laq import evaluation
from tf_laq.evaluation import RobustnessReport


@pytest.fixture(scope="module")
def in_one_go(study, data, networks):
    """Return the paper's whole battery on `adv` and `lq` as one call of `evaluate`."""
    return evaluation.evaluate(
        {name: networks.evaluated[name].model for name in ("adv", "lq")},
        data.test.images[:24],
        data.test.labels[:24],
        battery=study.paper.only(["clean", "pgd", "mim", "gaussian"]),
        surrogates={"twin": networks.trained["twin"].model},
        check_strength=False,
        progress=False,
    )


@pytest.mark.parametrize(
    ("column", "knowledge"),
    [("clean", "none"), ("gaussian", "none"), ("pgd", "gray"), ("pgd", "white"), ("mim", "white")],
)
@pytest.mark.parametrize("network", ["adv", "lq"])
def test_an_attack_by_itself_finds_what_it_finds_in_a_battery(study, in_one_go, network, column, knowledge):
    expected = in_one_go.correct(network, column, knowledge)
    found = study.correct(network, column, knowledge)
    assert len(found) == (50 if knowledge == "none" else 24)
    np.testing.assert_array_equal(found[:24], expected)


@pytest.mark.parametrize("network", ["adv", "q2"])
def test_the_worst_case_is_no_better_than_any_attack_inside_the_ball(study, network):
    worst = study.worst(network)
    assert len(worst) == 12
    assert not (worst & ~study.gradient_free(network)).any()
    for column in ("fgsm_weak", "fgsm_strong", "pgd", "bim", "mim"):
        assert not (worst & ~study.correct(network, column, "white")[:12]).any()


def test_slow_attacks_see_fewer_images(study):
    assert len(study.correct("adv", "cw_l2", "white")) == 12
    assert len(study.correct("adv", "pgd", "white")) == 24


def test_what_is_in_the_cache_is_not_made_again_unless_it_depends_on_something_else(study):
    study.correct("adv", "bim", "white")
    said = []

    def again(settings=study.settings, seed=study.seed):
        other = dataclasses.replace(study, settings=settings, seed=seed, announce=said.append)
        return other.correct("adv", "bim", "white")

    np.testing.assert_array_equal(again(), study.correct("adv", "bim", "white"))
    assert said == []
    again(dataclasses.replace(study.settings, examples=20))
    again(seed=1)
    started = [line.partition(",")[0] for line in said if "images" in line]
    assert started == ["white-quick-adv: adv", "plain-adv: adv", "white-quick-adv: adv"]


def kept(study, name):
    return [RobustnessReport.load(path) for path in study.cache.folder.glob(f"digits-{name}-*.json")]


def test_an_attack_as_it_is_leaves_the_second_search_out(study, networks):
    from research.paper.plans import judge

    right = judge(study, "check", networks.quantized["q2"], study.epsilon)
    assert (right["pgd"] >= right["worst_case"]).all()
    (report,) = kept(study, "check")
    assert any(outcome.second_search for outcome in report.outcomes)
    np.testing.assert_array_equal(without_second_search(report, "q2", "pgd", "white"), right["pgd"])


def test_the_papers_columns_have_no_second_search(study, networks):
    study.correct("q2", "pgd", "white")
    reports = kept(study, "white-quick-q2")
    assert reports
    assert networks.quantized["q2"].origin is networks.adv
    for report in reports:
        assert not any(outcome.second_search for outcome in report.outcomes)
        assert "No second search" in str(report)
