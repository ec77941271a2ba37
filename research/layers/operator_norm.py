"""The norm of a convolution as the operator that it is on images of the layer's input size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq import lipschitz
from tf_laq.sensitivity import WeightTensor

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_MOST_STEPS = 100
# One vector at a time is slow where the largest singular values are nearly equal, as in convolutions they are.
_TOGETHER = 8
_ENOUGH = 1e-4


def operator_norm(layer: Any, tensor: WeightTensor, values: npt.NDArray[np.float32]) -> float:
    """Return max ||K * x||_2 / ||x||_2 over inputs x of the layer's size, for a kernel K in the place of its own.

    Strides, padding and dilation are the layer's. The norm of the kernel as a matrix, which the paper goes by, is
    below it wherever patches overlap. A convolution's is found by block power iteration, to a relative change of
    1e-4; every other layer, and one whose input size is not known, has the norm of its matrix.

    Args:
        layer: The Keras layer.
        tensor: Its weight tensor, for the shape of the matrix.
        values: float32 kernel, the shape of the layer's own.
    """
    shape = _input_shape(layer) if type(layer).__name__ in _CONVOLUTIONS and tensor.weight == "kernel" else None
    if shape is None:
        return lipschitz.spectral_norm(tensor.layout.matrices(values))
    kernel = tf.constant(values)
    return _largest_singular_value(lambda inputs: layer.convolution_op(inputs, kernel), shape)


def _largest_singular_value(operator: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int, ...]) -> float:
    size = math.prod(shape)
    together = min(_TOGETHER, size)
    x = np.random.default_rng(0).normal(size=(size, together)).astype(np.float32)
    norm = 0.0
    for _ in range(_MOST_STEPS):
        inputs = tf.reshape(tf.transpose(tf.linalg.qr(x).q), (together, *shape))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = operator(inputs)
            half = 0.5 * tf.reduce_sum(tf.square(outputs))
        last, norm = norm, float(np.linalg.norm(np.asarray(outputs).reshape(together, -1), 2))
        if norm - last <= _ENOUGH * norm:
            break
        # The gradient of ||A x||^2 / 2 is A^T A x.
        x = tf.transpose(tf.reshape(tape.gradient(half, inputs), (together, size)))
    return norm


def _input_shape(layer: Any) -> tuple[int, ...] | None:
    """Return the shape of a layer's one input without the batch, or None where it is not known or not fixed."""
    try:
        shape = tuple(layer.input.shape[1:])
    except (AttributeError, ValueError):  # No graph, or several inputs.
        return None
    return None if None in shape or layer.padding == "causal" else shape
