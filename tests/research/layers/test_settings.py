"""Which layers and settings are studied."""

import numpy as np
import pytest

from research.layers.settings import LayerSettings
from tf_laq import lipschitz
from tf_laq.errors import InputError
from tf_laq.sensitivity import WeightTensor

TENSORS = [
    WeightTensor(f"layer{place}", "kernel", np.ones((2, 2), np.float32), lipschitz.dense(), fed_by_input=place == 3)
    for place in range(10)
]


def test_every_layer_gets_every_setting_unless_there_is_a_limit():
    settings = LayerSettings(epsilon=0.1, quantizers=("linear", "kmeans"), bits=(1, 2, 7))
    assert [(q.name, q.bits) for q in settings.choices] == [
        ("linear", 1), ("linear", 2), ("linear", 7), ("kmeans", 2),
    ]  # fmt: skip
    assert settings.layers(TENSORS) == list(range(10))


@pytest.mark.parametrize(("limit", "layers"), [(1, 1), (12, 3), (17, 4), (1000, 10)])
def test_a_limit_leaves_whole_layers_out_but_never_the_first(limit, layers):
    def drawn(seed):
        return LayerSettings(
            epsilon=0.1, quantizers=("linear",), bits=(2, 3, 4, 5), max_settings=limit, seed=seed
        ).layers(TENSORS)

    assert len(drawn(0)) == layers
    assert drawn(0) == drawn(0) == sorted(drawn(0))
    assert all(3 in drawn(seed) for seed in range(5))
    if 1 < layers < 10:
        assert len({tuple(drawn(seed)) for seed in range(9)}) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -1}, "epsilon: expected a finite number"),
        ({"examples": 0}, "examples: expected a whole number"),
        ({"max_settings": 0}, "max_settings: expected a whole number"),
        ({"quantizers": ("kmeans",), "bits": (8,)}, "bits: expected a bit width of one of the quantizers"),
        ({"quantizers": ("cubic",)}, "quantizer: expected one of"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        LayerSettings(**{"epsilon": 0.1, **change})


def test_a_data_set_has_its_customary_radius_unless_told_otherwise():
    assert LayerSettings.of("cifar10", epsilon=None).epsilon == pytest.approx(8 / 255)
    assert LayerSettings.of("mnist", epsilon=0.1).epsilon == 0.1
