"""One layer at a time: what is measured, and what is kept."""

import dataclasses

import numpy as np
import pytest

import tf_laq as laq
from research.cache import Cache
from research.layers.predictors import PREDICTORS
from research.layers.settings import LayerSettings
from research.layers.studying import LayerStudy


def test_every_setting_has_its_loss_and_all_predictors(study, trials):
    assert [(p.place, p.quantizer.name, p.quantizer.bits) for p in trials] == [
        (place, method, bits) for place in (0, 1) for method in ("linear", "log") for bits in (2, 3)
    ]
    for trial in trials:
        assert list(trial.predictors) == list(PREDICTORS)
        assert np.isfinite(list(trial.predictors.values())).all()
        lost = [trial.loss.lost(stage) for stage in ("clean", "apgd_ce", "square")]
        assert [share.count for share in lost] == [study.count] * 3
        assert lost[0].successes <= lost[1].successes <= lost[2].successes
    assert any(trial.loss.lost().successes for trial in trials)


def test_predictors_without_data_are_the_norms_that_policies_see(model, trials):
    table = laq.measure(model, progress=False)
    for trial in trials:
        row = table.rows[trial.place]
        setting = trial.quantizer.name, trial.quantizer.bits
        measured = next(m for m in row.measurements if (m.quantizer, m.bits) == setting)
        assert trial.predictors["error"] == pytest.approx(measured.error_norm)
        assert trial.predictors["relative_error"] == pytest.approx(measured.error_norm / row.norm)
        later = table.rows[1].norm if trial.place == 0 else 1.0
        assert trial.predictors["later_error"] == pytest.approx(measured.error_norm * later)


def test_the_float_network_withstands_all_images_and_hardly_loses_any_by_chance(study, data, model):
    kept = study._kept
    assert len(kept.rows) == study.count == 12
    assert study.looked_at == kept.rows[-1] + 1
    assert (np.argmax(model(kept.examples), axis=1) == data.test.labels[kept.rows]).all()
    assert np.abs(kept.examples - data.test.images[kept.rows]).max() <= 0.03 + 1e-6
    assert study.chance().lost().value <= 0.2


def test_a_run_that_was_killed_goes_on(study, trials):
    (first,), (second,) = (study._cache.folder.glob(f"layers-000-linear-{bits}-*.npz") for bits in (2, 3))
    with np.load(first) as found:
        arrays = dict(found)
    np.savez(first, **{**arrays, "seconds": 1e6})
    second.unlink()
    resumed = study.trials()
    np.savez(first, **arrays)
    assert resumed[0].loss.seconds == 1e6  # read, not measured again
    for before, after in zip(trials, resumed, strict=True):
        assert before.loss.right.keys() == after.loss.right.keys()
        for stage, right in before.loss.right.items():
            np.testing.assert_array_equal(after.loss.right[stage], right)
        assert after.predictors == before.predictors


def test_what_is_kept_depends_on_the_attacks_and_not_on_what_is_quantized(study):
    for change, same in (({"bits": (4,), "quantizers": ("log",), "calibration": 3}, True), ({"queries": 7}, False)):
        other = dataclasses.replace(study.settings, **change)
        assert (other.attack_facts() == study.settings.attack_facts()) == same


def test_a_network_that_withstands_nothing_is_refused(model, data, changes, tmp_path):
    with pytest.raises(laq.InputError, match="model: expected a network that withstands some images within 1"):
        LayerStudy(model, data, LayerSettings(**{**changes, "epsilon": 1.0, "examples": 5}), cache=Cache(tmp_path))
