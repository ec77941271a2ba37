"""Images of noise in the place of those that a network was trained on, for corrections without data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import whole
from tf_laq.adapters import adapter_of
from tf_laq.errors import InputError
from tf_laq.training.moments import Images, Moments, Place, Values, moments_at, normalisations

_BRIGHTNESS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CONTRAST = (0.125, 0.25, 0.5)

# Enough to tell one brightness or contrast from another.
_COMPARED = 16


@typed
def textures(model: Any, count: int = 64, *, shape: Sequence[int] | None = None, seed: int = 0) -> Images:
    """Return images of noise for `match_statistics`, in the place of those that a network was trained on.

        x = clip(b + c z, 0, 1)

    z is noise whose amplitudes fall with the frequency f as 1 / f, like those of photographs, with mean 0 and standard
    deviation 1 in each image. The brightness b is 0, 1/4, 1/2, 3/4 or 1, and the contrast c is 1/8, 1/4 or 1/2. The two
    are the ones with which the inputs of the batch normalisations are nearest to their running statistics, by the
    divergence of one normal distribution from another:

        KL = 1/2 (r - 1 - log r + (m - mean)^2 / (var + e)),   r = (v + e) / (var + e)

    where (m, v) are mean and variance of a channel on these images, (mean, var) its running statistics and e the
    layer's epsilon; it is averaged over the channels of a layer and summed over the layers.

    Source: Field 1987, "Relations between the statistics of natural images and the response properties of cortical
    cells", for the spectrum; the choice by running statistics is this package's.

    Args:
        model: A float network with batch normalisation, for images in [0, 1].
        count: Number of images.
        shape: (height, width, channels), or (length, channels) for signals; None for what the model's input says.
        seed: Of the noise.

    Returns:
        float32 images in [0, 1] (count, height, width, channels).

    Raises:
        InputError: The model has no batch normalisation, its input has no known size, or an argument is wrong.

    Example:
        >>> import tf_keras
        >>> model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.BatchNormalization()])
        >>> model.set_weights([np.ones(1), np.zeros(1), np.array([0.75]), np.array([0.0625])])
        >>> images = textures(model)
        >>> images.shape, bool(0.65 < images.mean() < 0.85)
        ((64, 8, 8, 1), True)
    """
    whole("count", count)
    whole("seed", seed, minimum=0)
    places = normalisations(model)
    if not places:
        received = f"{type(model).__name__} {model.name!r} without batch normalisation"
        remedy = "Without running statistics nothing says what the images were like: correct it with some of them."
        raise InputError("model", expected="a model with batch normalisation", received=received, remedy=remedy)
    known = adapter_of(model).input_shape(model)[1:] if shape is None else shape
    sizes = [size for size in known if size is not None]
    if len(sizes) < max(2, len(known)) or min(sizes) < 1 or math.prod(sizes[:-1]) < 2:
        expected, remedy = "the shape of an image or signal, (..., channels)", "Give its sizes: shape=(32, 32, 3)."
        raise InputError("shape", expected=expected, received=f"{tuple(known)}", remedy=remedy)
    noise = _noise((count, *sizes), seed)

    def distance(settings: tuple[float, float]) -> float:
        images = _images(noise[:_COMPARED], *settings)
        return _distance(places, moments_at(places, model, images, _COMPARED))

    return _images(noise, *min(itertools.product(_BRIGHTNESS, _CONTRAST), key=distance))


def _noise(shape: tuple[int, ...], seed: int) -> Values:
    """Return noise with a spectrum of 1 / f, with mean 0 and standard deviation 1 in each image."""
    sides, axes = shape[1:-1], tuple(range(1, len(shape) - 1))
    squares = [np.fft.fftfreq(side) ** 2 for side in sides]
    frequency = np.sqrt(np.sum(np.meshgrid(*squares, indexing="ij"), axis=0))
    frequency.flat[0] = np.inf
    white = np.random.default_rng(seed).standard_normal(shape)
    found = np.fft.ifftn(np.fft.fftn(white, axes=axes) / frequency[..., None], axes=axes).real
    scaled: Values = found / found.std(axis=(*axes, -1), keepdims=True)
    return scaled


def _images(noise: Values, brightness: float, contrast: float) -> Images:
    return np.clip(brightness + contrast * noise, 0.0, 1.0).astype(np.float32)


def _distance(places: list[Place], found: list[Moments]) -> float:
    """Return how far the inputs of normalisations are from their running statistics."""
    return sum(_divergence(place.layer, moments) for place, moments in zip(places, found, strict=True) if moments.count)


def _divergence(layer: Any, found: Moments) -> float:
    mean, variance = (np.asarray(each, np.float64).ravel() for each in (layer.moving_mean, layer.moving_variance))
    # A channel without variance in a layer without epsilon is as far from any other as numbers can say.
    epsilon = max(float(layer.epsilon), float(np.finfo(np.float32).tiny))
    ratio = (found.variance.ravel() + epsilon) / (variance + epsilon)
    shift = (found.mean.ravel() - mean) ** 2 / (variance + epsilon)
    return float(np.mean(ratio - 1.0 - np.log(ratio) + shift) / 2.0)
