"""One layer at a time: what is measured, and what is kept."""

import dataclasses
import fnmatch

import numpy as np
import pytest

import tf_laq as laq
from research.layer_study import LayerStudy, Settings
from research.layer_study.canvas import Canvas
from research.layer_study.predictors import PREDICTORS
from research.layer_study.studying import Loss
from tf_laq.adapters import keras_module
from tf_laq.quantizers import Linear


@pytest.mark.parametrize("version", [2, 3])
def test_one_kernel_is_quantized_and_the_others_stay_float32(version):
    layers = keras_module(version).layers
    model = keras_module(version).Sequential(
        [layers.Input((6,)), layers.Dense(5, name="first"), layers.Dense(4, name="second")]
    )
    images, canvas = np.random.default_rng(0).random((3, 6), np.float32), Canvas(model)
    for tensor in canvas.tensors:
        others = {name: None for name in ("first", "second") if not fnmatch.fnmatch(name, tensor.layer)}
        expected = laq.bake(model, laq.uniform(model, "linear", 2, overrides=others))
        with canvas.quantized(tensor, Linear(2)):
            np.testing.assert_array_equal(canvas.logits(images), expected(images))
            assert not np.array_equal(canvas.logits(images), model(images))
        np.testing.assert_array_equal(canvas.logits(images), model(images))


def test_every_setting_has_its_loss_and_all_predictors(study, points):
    assert [(p.place, p.quantizer.name, p.quantizer.bits) for p in points] == [
        (place, method, bits) for place in (0, 1) for method in ("linear", "log") for bits in (2, 3)
    ]
    for point in points:
        assert list(point.predictors) == list(PREDICTORS)
        assert np.isfinite(list(point.predictors.values())).all()
        lost = [point.loss.lost(stage) for stage in ("clean", "apgd_ce", "square")]
        assert [share.count for share in lost] == [study.count] * 3
        assert lost[0].successes <= lost[1].successes <= lost[2].successes
    assert any(point.loss.lost().successes for point in points)


def test_predictors_without_data_are_the_norms_that_policies_see(model, points):
    table = laq.measure(model, progress=False)
    for point in points:
        row = table.rows[point.place]
        setting = point.quantizer.name, point.quantizer.bits
        measured = next(m for m in row.measurements if (m.quantizer, m.bits) == setting)
        assert point.predictors["error"] == pytest.approx(measured.error_norm)
        assert point.predictors["relative_error"] == pytest.approx(measured.error_norm / row.norm)
        later = table.rows[1].norm if point.place == 0 else 1.0
        assert point.predictors["later_error"] == pytest.approx(measured.error_norm * later)


def test_the_float_network_withstands_all_images_and_hardly_loses_any_by_chance(study, data, model):
    kept = study._kept
    assert len(kept.rows) == study.count == 12
    assert study.looked_at == kept.rows[-1] + 1
    assert (np.argmax(model(kept.examples), axis=1) == data.test.labels[kept.rows]).all()
    assert np.abs(kept.examples - data.test.images[kept.rows]).max() <= 0.03 + 1e-6
    assert study.chance().lost().value <= 0.2


def test_a_run_that_was_killed_goes_on(study, points):
    first, second = (study._folder / f"000-linear-{bits}.json" for bits in (2, 3))
    kept = Loss.load(first)
    dataclasses.replace(kept, seconds=1e6).save(first)
    second.unlink()
    resumed = study.points()
    kept.save(first)
    assert resumed[0].loss.seconds == 1e6  # read, not measured again
    for before, after in zip(points, resumed, strict=True):
        assert after.loss.outcomes == before.loss.outcomes
        assert after.predictors == before.predictors


def test_what_is_kept_depends_on_the_attacks_and_not_on_what_is_quantized(study):
    for change, same in (({"bits": (4,), "methods": ("log",), "calibration": 3}, True), ({"queries": 7}, False)):
        other = dataclasses.replace(study.settings, **change)
        assert (other.attack_facts() == study.settings.attack_facts()) == same


def test_a_network_that_withstands_nothing_is_refused(model, data, changes, tmp_path):
    with pytest.raises(laq.InputError, match="model: expected a network that withstands some images within 1"):
        LayerStudy(model, data, Settings(**{**changes, "epsilon": 1.0, "examples": 5}), cache=tmp_path)
