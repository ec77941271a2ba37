"""Networks of `saved_models` as PyTorch computes them, on Keras's weights: for attacks that exist for PyTorch alone.

Nothing here imports PyTorch. The functions take `torch.nn.functional`, or anything with the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = Mapping[str, Any]
"""Layer name/weight name -> array, or tensor, in the layout of PyTorch."""


def torch_weights(model: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights of a Keras network in the layout of PyTorch.

    Kernels (h, w, in, out) become (out, in, h, w), and (in, out) becomes (out, in). PyTorch puts the channels of an
    image before its places, so the inputs of the dense layer after a `Flatten` change their order too.

    Args:
        model: A functional model of convolutions, dense layers and batch normalisation.
    """
    found: dict[str, npt.NDArray[np.float32]] = {}
    image: tuple[int, ...] = ()
    for layer in model.layers:
        if type(layer).__name__ == "Flatten":
            image = tuple(layer.input.shape[1:])
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True):
            name = variable.name.rpartition("/")[2].partition(":")[0]
            if values.ndim == 4:
                values = values.transpose(3, 2, 0, 1)
            elif values.ndim == 2 and image:
                values, image = values.reshape(*image, -1).transpose(3, 2, 0, 1).reshape(values.shape[1], -1), ()
            elif values.ndim == 2:
                values = values.T
            found[f"{layer.name}/{name}"] = np.ascontiguousarray(values, np.float32)
    return found


def mnist_cnn(images: Any, weights: Weights, functional: Any) -> Any:
    """Return the logits of `tf_laq.models.build("mnist_cnn")` for images (n, 1, 28, 28)."""
    x = images
    for name in ("conv1", "conv2"):
        x = functional.relu(_convolution(x, weights, functional, name, 2))
    x = functional.relu(_dense(x.reshape(len(x), -1), weights, functional, "dense1"))
    return _dense(x, weights, functional, "logits")


def wide_resnet(images: Any, weights: Weights, functional: Any) -> Any:
    """Return the logits of `tf_laq.models.build("wide_resnet")`, of any width, for images (n, 3, 32, 32)."""
    x = _convolution(images, weights, functional, "conv1", 1)
    for group in (1, 2, 3):
        for block in range(1, 6):
            x = _block(x, weights, functional, f"group{group}_block{block}", 2 if group > 1 and block == 1 else 1)
    return _dense(_normalised(x, weights, functional, "final").mean((2, 3)), weights, functional, "logits")


FORWARD: Mapping[str, Callable[[Any, Weights, Any], Any]] = {"mnist_cnn": mnist_cnn, "wide_resnet": wide_resnet}
"""Name of the Keras model -> function from images, weights and `torch.nn.functional` to logits."""


def _block(x: Any, weights: Weights, functional: Any, name: str, stride: int) -> Any:
    activated = _normalised(x, weights, functional, f"{name}_1")
    added = len(weights[f"{name}_conv1/kernel"]) - x.shape[1]
    shortcut = activated if added or stride > 1 else x
    if stride > 1:
        shortcut = functional.avg_pool2d(shortcut, stride)
    if added:
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, added // 2, added - added // 2))
    x = _convolution(activated, weights, functional, f"{name}_conv1", stride)
    x = _normalised(x, weights, functional, f"{name}_2")
    return _convolution(x, weights, functional, f"{name}_conv2", 1) + shortcut


def _convolution(x: Any, weights: Weights, functional: Any, name: str, stride: int) -> Any:
    """Convolve as Keras does with padding "same", which puts the odd row and column after the image."""
    kernel = weights[f"{name}/kernel"]
    total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel.shape[-1] - x.shape[-1], 0)
    before, after = total // 2, total - total // 2
    padded = functional.pad(x, (before, after, before, after))
    return functional.conv2d(padded, kernel, weights.get(f"{name}/bias"), stride)


def _normalised(x: Any, weights: Weights, functional: Any, name: str) -> Any:
    mean, variance, gamma, beta = (
        weights[f"{name}_norm/{part}"] for part in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    return functional.relu(functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, 1e-5))


def _dense(x: Any, weights: Weights, functional: Any, name: str) -> Any:
    return functional.linear(x, weights[f"{name}/kernel"], weights[f"{name}/bias"])
