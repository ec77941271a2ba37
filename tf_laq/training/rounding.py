"""Rounding that looks at a layer's inputs: an error that the rounding of one weight makes, the next ones take back."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq._internal.batches import ImageData, images_alone
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import called_on, checked_images, whole
from tf_laq.adapters import adapter_of, logits_function
from tf_laq.adapters.observing import observed
from tf_laq.attacks.base import Attack
from tf_laq.attacks.half import half_adversarial
from tf_laq.errors import InputError
from tf_laq.training.copying import copy_of
from tf_laq.training.moments import Place, Values, channels_of, paired, run

# More levels than six bits have leave an error that is not worth the time, and not all of them may occur in a kernel.
_MOST_LEVELS = 64
# The second moments of the inputs of a kernel are a square matrix in float64: half a gigabyte at this size.
_MOST_INPUTS = 8192
# In units of the mean second moment: keeps apart inputs that are the same on all images.
_DAMPING = 0.01
# Rows that are rounded before the rows after them learn of it: one matrix product in place of so many.
_BLOCK = 64


@typed
def adapt_rounding(
    model: Any,
    float_twin: Any,
    images: ImageData,
    *,
    attack: Attack | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> Any:
    """Return a quantized model whose weights are rounded to the same levels, with the inputs of the layers in view.

    A quantizer rounds each weight to the nearest level. What counts is the error of the layer's outputs,

        tr((W - Q)^T H (W - Q)),   H = X^T X + damping,

    where the rows of X are the inputs of the layer in the float twin: all that its kernel, as the matrix W (inputs,
    outputs), is multiplied with. Here the rows of W are rounded one after another, those of the largest inputs first,
    and each error is taken from the rows that are still to be rounded, by the least squares that H says. A kernel where
    this does not lessen the error above stays as it was.

    Kernels of dense and convolutional layers with at most 64 different values are rounded so. All others keep their
    rounding: depthwise, grouped, transposed and recurrent ones, those of more than 8192 inputs, and finer ones. Sizes
    of files do not change. The means and variances of a layer's outputs still shift: call `match_statistics` after it.

    Source: Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    with levels at any distances from one another and on adversarial inputs.

    Args:
        model: A quantized model, baked or stripped; it stays as it is.
        float_twin: The full-precision model that it was made from.
        images: Float images in [0, 1] (n, height, width, channels), or batches of them with or without labels, of the
            kind that the network was trained on.
        attack: Perturbs the second half of the images on the float twin, as `attacks.half_adversarial` does; None for
            images as they are.
        batch_size: Images in a call; the result does not depend on it but for rounding.
        seed: Of the attack.

    Raises:
        InputError: The models have other layers, the quantized one is wrapped, has no such kernel or cannot be copied;
            or an argument is wrong.

    Example:
        >>> import tf_keras
        >>> import tf_laq as laq
        >>> model = tf_keras.Sequential([tf_keras.Input((1, 1, 3)), tf_keras.layers.Dense(1, use_bias=False)])
        >>> model.set_weights([np.array([[0.4], [0.4], [1.0]])])
        >>> quantized = laq.bake(model, laq.uniform(model, "log", 2))
        >>> quantized.get_weights()[0].ravel().tolist()
        [0.0, 0.0, 1.0]
        >>> adapted = adapt_rounding(quantized, model, np.ones((4, 1, 1, 3)))
        >>> adapted.get_weights()[0].ravel().tolist()
        [0.0, 1.0, 1.0]
    """
    images = checked_images(images_alone(images))
    whole("batch_size", batch_size)
    whole("seed", seed, minimum=0)
    if adapter_of(model).is_wrapped(model):
        remedy = "Strip it first: laq.strip(model)."
        raise InputError("model", expected="a baked or stripped model", received="a wrapped one", remedy=remedy)
    if attack is not None:
        images = half_adversarial(logits_function(float_twin), images, attack, seed=seed)
    adapted = copy_of(model)
    pairs = paired(_matrix_layers, adapted, float_twin)
    if not pairs:
        received = f"{type(float_twin).__name__} {float_twin.name!r} without any"
        raise InputError("float_twin", expected="dense or convolutional layers", received=received)
    with called_on(images.shape[1:], "float_twin"):
        moments = _second_moments([place for _, place in pairs], float_twin, images, batch_size)
    for place, of_float in pairs:
        kernel, wanted = place.layer.kernel, of_float.layer.kernel
        # A kernel that several layers have is rounded once.
        second_moments = moments.pop(id(wanted), None)
        if second_moments is not None:
            shape = (-1, kernel.shape[-1])
            found = _adapted(np.reshape(wanted, shape), np.reshape(kernel, shape), second_moments)
            kernel.assign(found.reshape(kernel.shape))
    return adapted


def _matrix_layers(model: Any) -> list[Place]:
    """Return the dense and convolutional layers of a model, with the inputs that their kernels multiply."""
    adapter = adapter_of(model)
    layers = adapter.keras.layers
    kinds = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    found = [
        layer
        for layer in adapter.layers(model)
        if isinstance(layer, kinds) and not isinstance(layer, transposed) and getattr(layer, "groups", 1) == 1
    ]
    return [Place(layer, channels_of(layer), functools.partial(_multiplied, layer)) for layer in found]


def _multiplied(layer: Any, inputs: Any) -> Any:
    """Return the inputs of a layer as its kernel multiplies them: of a convolution, the patch at every place."""
    if not hasattr(layer, "convolution_op"):
        return inputs
    # By the identity as its kernel, a convolution gives its patches.
    shape = layer.kernel.shape[:-1]
    size = math.prod(shape)
    return layer.convolution_op(inputs, tf.reshape(tf.eye(size, dtype=inputs.dtype), (*shape, size)))


def _second_moments(places: list[Place], model: Any, images: Any, batch_size: int) -> dict[int, Values]:
    """Return the sums of the products of the inputs of each kernel, by the kernel's identity."""
    found: dict[int, Values] = {}

    def adding(place: Place) -> Any:
        kernel = place.layer.kernel

        def receives(inputs: Any) -> None:
            rows = place.values(inputs)
            rows = tf.reshape(tf.experimental.numpy.moveaxis(rows, place.axis, -1), (-1, rows.shape[place.axis]))
            found[id(kernel)] = found.get(id(kernel), 0) + np.asarray(
                tf.matmul(rows, rows, transpose_a=True), np.float64
            )

        return receives

    with contextlib.ExitStack() as stack:
        for place in places:
            if math.prod(place.layer.kernel.shape[:-1]) <= _MOST_INPUTS:
                stack.enter_context(observed(place.layer, adding(place)))
        run(model, images, batch_size)
    return found


def _adapted(weights: npt.NDArray[Any], rounded: npt.NDArray[Any], moments: Values) -> npt.NDArray[Any]:
    """Return a kernel (inputs, outputs) rounded to the values of another rounding of it, or that one if it is better.

    Args:
        weights: The kernel in full precision.
        rounded: Another rounding of it.
        moments: Sums of the products of its inputs (inputs, inputs).
    """
    levels = np.unique(rounded).astype(np.float64)
    if len(levels) > _MOST_LEVELS:
        return rounded
    moments = moments + (_DAMPING * np.mean(np.diag(moments)) + np.finfo(np.float32).tiny) * np.eye(len(moments))
    order = np.argsort(-np.diag(moments), kind="stable")
    # Row i says how much of an error in row i of the kernel each row after it takes back.
    shares = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    shares /= np.diag(shares)[:, None]
    found = np.empty_like(rounded)
    found[order] = _rounded_in_order(np.asarray(weights, np.float64)[order], levels, shares)
    return min((rounded, found), key=lambda rounding: _error(weights - rounding.astype(np.float64), moments))


def _rounded_in_order(weights: Values, levels: Values, shares: Values) -> Values:
    """Return rows that are rounded one after another; `weights` is overwritten."""
    middles = (levels[1:] + levels[:-1]) / 2
    rounded = np.empty_like(weights)
    for start in range(0, len(weights), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(weights)))
        for row in range(block.start, block.stop):
            rounded[row] = levels[np.searchsorted(middles, weights[row])]
            weights[row] -= rounded[row]
            weights[row + 1 : block.stop] -= np.outer(shares[row, row + 1 : block.stop], weights[row])
        weights[block.stop :] -= shares[block, block.stop :].T @ weights[block]
    return rounded


def _error(errors: Values, moments: Values) -> float:
    return float(np.sum(errors * (moments @ errors)))
