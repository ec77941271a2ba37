from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.adapters import adapter_of, keras_module
from tf_laq.errors import InputError
from tf_laq.training import match_statistics, textures


def normalised(version: int, brightness: float, contrast: float, shape=(16, 16, 2)):
    """Return a network that normalises its images first, by the statistics of images of this mean and deviation."""
    keras = keras_module(version)
    model = keras.Sequential([keras.Input(shape), keras.layers.BatchNormalization()])
    channels = shape[-1]
    statistics = [np.full(channels, brightness), np.full(channels, contrast**2)]
    model.set_weights([np.ones(channels), np.zeros(channels), *statistics])
    return model


def network(version: int, nested: bool):
    """Return a network with a separable layer, of which all that normalises may be in a nested model."""
    keras = keras_module(version)
    layers = keras.layers
    parts = [
        layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv"),
        layers.BatchNormalization(name="norm1"),
        layers.ReLU(name="relu1"),
        layers.SeparableConv2D(8, 3, use_bias=False, name="separable"),
        layers.BatchNormalization(name="norm2"),
        layers.ReLU(name="relu2"),
    ]
    if nested:
        parts = [keras.Sequential([keras.Input((8, 8, 1)), *parts], name="body")]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *parts, layers.Flatten(name="flatten"), layers.Dense(16, name="logits")]
    )
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(0.0, 0.4, w.shape) if w.ndim > 1 else w for w in model.get_weights()])
    return model


def photographs() -> np.ndarray:
    """Return dark images with smooth patches, which a texture is not."""
    generator = np.random.default_rng(3)
    coarse = np.clip(generator.normal(0.25, 0.2, (200, 2, 2, 1)), 0.0, 1.0)
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.float32)


def trained(version: int, nested: bool):
    """Return a network that has the statistics of photographs in its normalisations."""
    return laq.training.recalibrate_batch_norm(network(version, nested), photographs())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("brightness", "contrast"), [(0.25, 0.125), (0.5, 0.25), (0.75, 0.125)])
def test_brightness_and_contrast_are_those_of_the_running_statistics(version, brightness, contrast) -> None:
    images = textures(normalised(version, brightness, contrast), 32)
    assert images.shape == (32, 16, 16, 2) and images.dtype == np.float32
    assert images.min() >= 0.0 and images.max() <= 1.0
    assert images.mean() == pytest.approx(brightness, abs=0.01)
    assert images.std() == pytest.approx(contrast, rel=0.05)


def test_amplitudes_fall_as_one_over_the_frequency() -> None:
    amplitudes = np.abs(np.fft.fft2(textures(normalised(3, 0.5, 0.125), 256), axes=(1, 2))).mean((0, 3))
    # From one to four cycles an image; clipping changes little at this contrast.
    assert amplitudes[0, 1] / amplitudes[0, 4] == pytest.approx(4.0, rel=0.1)
    assert amplitudes[1, 0] / amplitudes[4, 0] == pytest.approx(4.0, rel=0.1)


def test_the_seed_alone_decides_and_signals_have_textures_too() -> None:
    model = normalised(2, 0.5, 0.25, (32, 3))
    first, again, other = (textures(model, 4, seed=seed) for seed in (0, 0, 1))
    assert first.shape == (4, 32, 3) and np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("version", [2, 3])
def test_a_kernel_twice_as_large_doubles_the_running_statistics_whatever_the_images(version: int) -> None:
    keras = keras_module(version)
    layers = keras.layers
    parts = [layers.Conv2D(2, 1, use_bias=False), layers.BatchNormalization(epsilon=0.125)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts])
    kernel, mean, variance = np.array([[[[1.0, 0.5]]]]), np.array([0.25, 0.5]), np.array([1.0, 3.0])
    model.set_weights([kernel, np.ones(2), np.zeros(2), mean, variance])
    larger = keras.models.clone_model(model)
    larger.set_weights([2.0 * kernel, *model.get_weights()[1:]])
    found = match_statistics(larger, model, textures(model)).get_weights()[3:]
    np.testing.assert_allclose(found, [2.0 * mean, 4.0 * (variance + 0.125) - 0.125], rtol=1e-5)


@pytest.mark.parametrize(("version", "nested"), [(2, True), (3, False)])
def test_without_data_the_mean_outputs_on_other_images_come_nearer(version: int, nested: bool, tmp_path) -> None:
    model, images = trained(version, nested), photographs()
    before = [weight.tobytes() for weight in model.get_weights()]
    plan = laq.uniform(model, "kmeans", 3, progress=False)
    quantized = laq.bake(model, plan)
    matched = match_statistics(quantized, model, textures(model))
    wanted, unmatched, found = (np.asarray(of(images)).mean(0) for of in (model, quantized, matched))
    assert np.abs(found - wanted).mean() < 0.75 * np.abs(unmatched - wanted).mean()
    same = match_statistics(model, model, textures(model))
    assert [w.tobytes() for w in model.get_weights()] == before == [w.tobytes() for w in same.get_weights()]
    parity = laq.export_tflite(matched, tmp_path / "matched.tflite", plan).parity
    assert parity.max_difference <= parity.tolerance and parity.differing_predictions == 0


def test_a_normalisation_that_is_never_called_has_no_say() -> None:
    import keras

    class Spare(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.used, self.unused = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()

        def build(self, shape):
            self.unused.build(shape)

        def call(self, inputs):
            return self.used(inputs)

    model = keras.Sequential([keras.Input((8, 8, 1)), Spare()])
    used = next(layer for layer in adapter_of(model).layers(model) if layer is model.layers[-1].used)
    used.moving_mean.assign([0.75])
    used.moving_variance.assign([0.015625])
    assert textures(model).mean() == pytest.approx(0.75, abs=0.02)


def test_a_network_that_says_nothing_of_its_images_is_refused() -> None:
    import tf_keras

    layers = tf_keras.layers
    bare = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(InputError, match="model: expected a model with batch normalisation"):
        textures(bare)
    for shape in ((None, None, 3), (1, 1, 3), (5,)):
        unknown = tf_keras.Sequential([tf_keras.Input(shape), layers.BatchNormalization()])
        with pytest.raises(InputError, match="shape: expected the shape of an image or signal"):
            textures(unknown)
    with pytest.raises(InputError, match="shape"):
        textures(normalised(2, 0.5, 0.25), shape=(-16, -16, 2))
    anywhere = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layers.BatchNormalization()])
    assert textures(anywhere, 2, shape=(8, 6, 3)).shape == (2, 8, 6, 3)
    with pytest.raises(InputError, match="count"):
        textures(normalised(2, 0.5, 0.25), 0)
