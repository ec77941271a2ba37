"""Seeing what reaches the layers of a model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Values = npt.NDArray[np.float64]


def run(model: Any, images: npt.NDArray[np.float32], batch_size: int) -> None:
    """Call a model on all images in inference mode, batch by batch."""
    for start in range(0, len(images), batch_size):
        model(tf.constant(images[start : start + batch_size]), training=False)


def in_call_order(layers: list[Any], model: Any, images: npt.NDArray[np.float32]) -> list[Any]:
    """Return the layers in the order in which the model calls them on these images; those it does not call are out."""
    called: dict[int, Any] = {}

    def noting(layer: Any) -> Callable[[Any], Any]:
        return lambda inputs: called.setdefault(id(layer), layer)

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(before_each_call(layer, noting(layer)))
        run(model, images, len(images))
    return list(called.values())


@contextlib.contextmanager
def before_each_call(layer: Any, see: Callable[[Any], Any]) -> Iterator[None]:
    """Show the inputs of a layer to `see` before it is called; Keras 3 has no hook for that, nor has Keras 2."""
    call = layer.call

    def seen(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        see(inputs)
        return call(inputs, *args, **kwargs)

    layer.call = seen
    try:
        yield
    finally:
        del layer.call


class Moments:
    """Mean and variance per channel, merged over batches in float64 (Chan, Golub, LeVeque 1983)."""

    def __init__(self, axis: Any) -> None:
        self._axes = np.atleast_1d(np.asarray(axis, np.int64))
        self._count, self._squares = 0, np.zeros(())
        self.mean: Values = np.zeros(())

    def add(self, inputs: Any) -> None:
        """Merge the values of a batch."""
        values = np.asarray(tf.cast(inputs, tf.float32), np.float64)
        kept = {int(axis) % values.ndim for axis in self._axes}
        others = tuple(axis for axis in range(values.ndim) if axis not in kept)
        count, mean = values.size // int(np.prod([values.shape[axis] for axis in kept])), values.mean(others)
        total = self._count + count
        shift = mean - self.mean
        self._squares = self._squares + values.var(others) * count + shift**2 * self._count * count / total
        self.mean = self.mean + shift * count / total
        self._count = total

    @property
    def variance(self) -> Values:
        """Of the population."""
        return self._squares / self._count
