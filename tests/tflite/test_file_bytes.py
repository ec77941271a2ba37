"""The sizes that a plan promises are those of the files that are written."""

import dataclasses

import numpy as np
import pytest

import tf_laq as laq
from tf_laq import models, quantizers
from tf_laq.errors import InputError
from tf_laq.tflite import LAYOUTS, export_tflite, predicted_bytes, with_file_bytes

NETWORKS = [
    pytest.param("digits_cnn", {"width": 4}, 2),
    pytest.param("digits_cnn", {"width": 4}, 3),
    pytest.param("mnist_separable", {}, 2, marks=pytest.mark.slow),
    pytest.param("mnist_cnn", {}, 2, marks=pytest.mark.slow),
    pytest.param("mnist_cnn_madry", {}, 2, marks=pytest.mark.slow),
    pytest.param("wide_resnet", {}, 2, marks=pytest.mark.slow),
]

PLANS = {
    "guarded": lambda model: laq.search(model, progress=False),
    "paper": lambda model: laq.search(model, policy="paper", progress=False),
    "linear 8": lambda model: laq.uniform(model, "linear", 8, progress=False),
    "kmeans 3": lambda model: laq.uniform(model, "kmeans", 3, progress=False),
    "log 4": lambda model: laq.uniform(model, "log", 4, progress=False),
    "linear 9": lambda model: laq.uniform(model, "linear", 9, progress=False),
}


@pytest.mark.parametrize(("name", "options", "keras"), NETWORKS)
@pytest.mark.filterwarnings("ignore::tf_laq.policies.UnsatisfiedWarning")
def test_the_predicted_bytes_are_those_of_the_file_under_every_plan_in_every_layout(name, options, keras, tmp_path):
    model, path = models.build(name, keras=keras, seed=1, **options), tmp_path / "model.tflite"
    for made_by, make in PLANS.items():
        plan = with_file_bytes(model, make(model))
        for layout in LAYOUTS:
            report = export_tflite(model, path, plan, layout=layout)
            assert plan.file_bytes[layout] == path.stat().st_size, (made_by, layout)
            lost = {f"{t.layer}/{t.weight}" for t in report.tensors if not t.kept}
            assert set(plan.widened[layout]) == lost, (made_by, layout)


@pytest.fixture(scope="module")
def planned(small_cnn):
    return with_file_bytes(small_cnn, laq.uniform(small_cnn, "linear", 3, overrides={"logits": "linear:9"}))


def test_a_model_that_is_quantized_already_has_the_same_bytes(small_cnn, planned):
    for quantized in (laq.bake(small_cnn, planned), laq.apply(small_cnn, planned)):
        assert predicted_bytes(quantized) == predicted_bytes(quantized, planned) == planned.file_bytes


def test_a_float_model_without_a_plan_has_no_predicted_bytes(small_cnn):
    with pytest.raises(InputError, match=r"plan: expected a plan"):
        predicted_bytes(small_cnn)


def test_a_plan_shows_its_files_and_what_they_do_not_keep(planned):
    lines = str(planned).splitlines()
    (packed,) = (line for line in lines if line.startswith("File in layout packed"))
    assert packed == f"File in layout packed: {planned.file_bytes['packed']:,} bytes"
    assert planned.file_bytes["int8"] != planned.file_bytes["auto"]
    expected = f"File in layout int8: {planned.file_bytes['int8']:,} bytes; not at the planned bits: logits/kernel"
    assert expected in lines


def test_a_plan_keeps_its_file_bytes_when_it_is_saved(planned, tmp_path):
    planned.save(tmp_path / "plan.json")
    loaded = laq.QuantizationPlan.load(tmp_path / "plan.json")
    assert (loaded, loaded.file_bytes, loaded.widened) == (planned, planned.file_bytes, planned.widened)


def test_a_plan_that_knows_its_file_bytes_is_the_plan_that_does_not(planned):
    unknown = dataclasses.replace(planned, file_bytes={}, widened={})
    assert unknown == planned
    assert "file_bytes" not in unknown.to_dict()
    assert laq.QuantizationPlan.from_json(unknown.to_json()).file_bytes == {}


@pytest.mark.parametrize("layout", ["int8", "auto", "packed"])
@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "guarded"},
        {"policy": "paper"},
        {"policy": "budget", "average_bits": 7.5},
        {"policy": "budget", "average_bits": 12, "max_bits": 16, "quantizers": ("linear",)},
        {"policy": "random", "average_bits": 6},
        {"policy": "paper", "quantizers": ("log",)},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::tf_laq.policies.UnsatisfiedWarning")
def test_a_search_for_a_layout_chooses_what_the_layout_keeps(normalised_net, layout, settings):
    plan = laq.search(normalised_net, layout=layout, progress=False, **settings)
    assert with_file_bytes(normalised_net, plan).widened[layout] == ()
    assert plan.policy.endswith(f"; layout {layout}")


def test_a_search_for_no_layout_chooses_from_all_settings(normalised_net):
    settings = {"policy": "budget", "average_bits": 12, "max_bits": 16, "quantizers": ("linear",), "progress": False}
    free, packed, int8 = (laq.search(normalised_net, layout=each, **settings) for each in (None, "packed", "int8"))
    assert free.entries == packed.entries
    assert max(entry.bits for entry in free.entries) > 8 >= max(entry.bits for entry in int8.entries)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "int4"}, r"layout: expected one of int8, packed, auto\. Received: 'int4'"),
        (
            {"layout": "int8", "overrides": {"conv1": "linear:9"}},
            r"layer 'conv1', weight 'kernel': expected a setting that the layout keeps\. Received: linear:9",
        ),
        (
            {"layout": "auto", "policy": laq.policies.Uniform(quantizers.get("log", 8))},
            r"layer 'conv1', weight 'kernel': .*Received: log:8\. Choose .*another layout",
        ),
    ],
)
def test_settings_that_a_layout_cannot_keep_are_refused(small_cnn, settings, message):
    with pytest.raises(InputError, match=message):
        laq.search(small_cnn, progress=False, **settings)


def test_every_layout_takes_a_layer_that_is_left_in_float32_by_hand(small_cnn):
    plan = laq.search(small_cnn, layout="int8", overrides={"conv1": "float32"}, progress=False)
    assert plan.entries[0].quantizer is None


def test_the_levels_of_a_quantizer_are_its_codebook():
    weights = np.linspace(-1, 1, 99, dtype=np.float32)
    for quantizer in quantizers.candidates(quantizers.names()):
        assert np.array_equal(quantizer.codebook(weights), quantizer.encode(weights).codebook)
