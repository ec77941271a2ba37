from __future__ import annotations

import numpy as np
import pytest

from tf_laq import models
from tf_laq.errors import InputError


def kernels(model) -> list[str]:
    return [weight.name for weight in model.weights if weight.name.endswith("kernel:0")]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("digits_cnn", 38_282), ("mnist_cnn", 166_406), ("mnist_cnn_madry", 3_274_634)],
)
def test_small_networks_have_their_published_sizes_and_layer_names(name: str, parameters: int) -> None:
    model = models.build(name)
    assert model.count_params() == parameters
    assert model.input_shape == (None, *models.input_shape(name))
    assert model.output_shape == (None, 10)
    assert kernels(model) == ["conv1/kernel:0", "conv2/kernel:0", "dense1/kernel:0", "logits/kernel:0"]


@pytest.mark.parametrize("name", models.names())
def test_outputs_are_logits_and_not_probabilities(name: str) -> None:
    options = {"width": 1} if name == "wide_resnet" else {}
    images = np.random.default_rng(0).random((4, *models.input_shape(name)), dtype=np.float32)
    logits = models.build(name, seed=0, **options)(images).numpy()
    assert logits.shape == (4, 10)
    assert logits.min() < 0.0


def test_wide_resnet_has_thirty_two_weight_layers_and_the_size_of_its_width() -> None:
    model = models.build("wide_resnet", width=2)
    assert len(kernels(model)) == 32
    assert sum("conv" in name for name in kernels(model)) == 31
    blocks = [filters * 9 * (incoming + 9 * filters) for incoming, filters in ((16, 32), (32, 64), (64, 128))]
    # Batch normalisation has four vectors as long as the channels that enter each of the 31 activations.
    entering = [16, *[32] * 9, 32, *[64] * 9, 64, *[128] * 9, 128]
    assert model.count_params() == 3 * 9 * 16 + sum(blocks) + 4 * sum(entering) + 128 * 10 + 10


def test_wide_resnet_of_width_ten_is_the_forty_six_million_weights_of_the_paper() -> None:
    assert models.build("wide_resnet", width=10).count_params() == 45_924_346


def test_a_shortcut_that_adds_channels_keeps_the_old_ones_in_the_middle() -> None:
    import tf_keras

    model = models.build("wide_resnet", width=2)
    padding = model.get_layer("group1_block1_zero_channels")
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    before, after = tf_keras.Model(model.input, [padding.input, padding.output])(images)
    assert after.shape == (2, 32, 32, 32)
    assert np.array_equal(after[..., 8:24], before)
    assert not np.any(after[..., :8]) and not np.any(after[..., 24:])


def test_layer_names_hold_no_slash_and_are_unique() -> None:
    names = [layer.name for layer in models.build("wide_resnet", width=1).layers]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "/" in name]


def test_a_seed_fixes_the_weights_and_layers_of_one_shape_still_differ() -> None:
    first, again, other = (models.build("mnist_cnn", seed=seed) for seed in (3, 3, 4))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    wide = models.build("wide_resnet", width=1, seed=3)
    twins = [wide.get_layer(f"group1_block{block}_conv2").get_weights()[0] for block in (1, 2)]
    assert not np.array_equal(*twins)


def test_classes_set_the_number_of_logits() -> None:
    assert models.build("mnist_cnn", classes=3).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "lenet"}, "digits_cnn, mnist_cnn, mnist_cnn_madry, mnist_separable, wide_resnet"),
        ({"name": "mnist_cnn", "width": 2}, "option of mnist_cnn"),
        ({"name": "wide_resnet", "width": 0}, "width of wide_resnet"),
        ({"name": "wide_resnet", "width": 1.5}, "width of wide_resnet"),
        ({"name": "digits_cnn", "classes": True}, "classes of digits_cnn"),
        ({"name": "digits_cnn", "seed": -1}, "seed"),
    ],
)
def test_a_wrong_name_or_option_is_refused_by_name(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        models.build(**arguments)
