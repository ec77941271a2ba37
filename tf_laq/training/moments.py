"""Means and variances of what the layers of a network see, and corrections by them, each after those before it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq.adapters import adapter_of
from tf_laq.adapters.kernels import has_keras_call
from tf_laq.adapters.observing import before_activation, observed
from tf_laq.errors import InputError

Images = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


class Moments:
    """Mean and variance per channel, merged over batches in float64 (Chan, Golub, LeVeque 1983).

    Args:
        axis: The axis of the channels, or several.

    Attributes:
        count: Values of a channel so far.
        mean: Their mean, per channel.
    """

    def __init__(self, axis: Any) -> None:
        self._axes = np.atleast_1d(np.asarray(axis, np.int64))
        self.count, self._squares = 0, np.zeros(())
        self.mean: Values = np.zeros(())

    def add(self, batch: Any) -> None:
        """Merge the values of a batch."""
        values = np.asarray(tf.cast(batch, tf.float32), np.float64)
        kept = {int(axis) % values.ndim for axis in self._axes}
        others = tuple(axis for axis in range(values.ndim) if axis not in kept)
        count, mean = values.size // int(np.prod([values.shape[axis] for axis in kept])), values.mean(others)
        total = self.count + count
        shift = mean - self.mean
        self._squares = self._squares + values.var(others) * count + shift**2 * self.count * count / total
        self.mean = self.mean + shift * count / total
        self.count = total

    @property
    def variance(self) -> Values:
        """Of the population."""
        return self._squares / self.count


@dataclass(frozen=True)
class Place:
    """A layer of a model, and the values at it whose moments count.

    Attributes:
        layer: The layer.
        axis: The axis of the channels in these values, or several.
        values: From the inputs of the layer to the values.
    """

    layer: Any
    axis: Any
    values: Callable[[Any], Any]

    def moments(self) -> Moments:
        """Return moments for these values, still of none."""
        return Moments(self.axis)


def normalisations(model: Any) -> list[Place]:
    """Return the batch normalisations of a model, wherever they are in it, with their inputs."""
    adapter = adapter_of(model)
    found = [layer for layer in adapter.layers(model) if adapter.kinds.is_batch_norm(layer)]
    return [Place(layer, layer.axis, lambda inputs: inputs) for layer in found]


def layers_with_bias(model: Any) -> list[Place]:
    """Return Keras' layers that have a kernel, a bias per channel and an activation, with their outputs before that.

    What a layer of the user's own does with its bias is not known: it need not shift the mean of any output.
    """
    adapter = adapter_of(model)
    found = [
        layer
        for layer in adapter.layers(model)
        if has_keras_call(layer)
        and _is_vector(getattr(layer, "bias", None))
        and hasattr(layer, "activation")
        # The cell of a recurrent layer takes states beside its inputs.
        and not hasattr(layer, "state_size")
        and adapter.kinds.kernels_of(layer)
    ]
    return [Place(layer, _channels(layer), _outputs_before_activation(layer)) for layer in found]


def paired(find: Callable[[Any], list[Place]], model: Any, float_twin: Any) -> list[tuple[Place, Place]]:
    """Return the places in a quantized model, each with that in its float twin.

    Args:
        find: `normalisations` or `layers_with_bias`.
        model: The quantized model, plain or wrapped.
        float_twin: The model that it was made from.

    Raises:
        InputError: One of them has a layer that the other one has not.
    """
    places, wanted = (dict(_by_name(find(of))) for of in (model, float_twin))
    for name, _ in places.keys() ^ wanted.keys():
        received = f"the layer {name!r} in one of them"
        raise InputError("model", expected="the layers of its float twin", received=received)
    for key, place in places.items():
        shapes, expected = ([tuple(v.shape) for v in of[key].layer.weights] for of in (places, wanted))
        if shapes != expected:
            received = f"other shapes of weights in the layer {place.layer.name!r}"
            raise InputError("model", expected="the layers of its float twin", received=received)
    return [(places[key], wanted[key]) for key in wanted]


def _by_name(places: list[Place]) -> Iterator[tuple[tuple[str, int], Place]]:
    """Give the places by the names of their layers, those of one name in several models by number too."""
    seen: Counter[str] = Counter()
    for place in places:
        yield (place.layer.name, seen[place.layer.name]), place
        seen[place.layer.name] += 1


def moments_at(places: Sequence[Place], model: Any, images: Images, batch_size: int) -> list[Moments]:
    """Return the moments at places of a model, over all images and all calls of their layers."""
    found = [place.moments() for place in places]
    with contextlib.ExitStack() as stack:
        for place, moments in zip(places, found, strict=True):
            stack.enter_context(observed(place.layer, _adding(place, moments)))
        _run(model, images, batch_size)
    return found


def correct_in_order(
    places: Sequence[Place], model: Any, images: Images, batch_size: int, correct: Callable[[int, Moments], None]
) -> None:
    """Correct the layers of a model in the order of their calls, so that each sees the corrections before it.

    Images that fit into one batch take one call of the model: a layer is corrected when its inputs are there, before
    it computes. More images, or a layer that is called several times, take a pass over all images per layer.

    Args:
        places: The layers, which are corrected in place.
        model: The model that they are in.
        images: The images.
        batch_size: Images in a call.
        correct: Corrects the place of a number by the moments at it; those that the model does not call are left out.
    """
    calls: list[int] = []
    with contextlib.ExitStack() as stack:
        for number, place in enumerate(places):
            stack.enter_context(observed(place.layer, _noting(calls, number)))
        _run(model, images[:1], 1)
    order = list(dict.fromkeys(calls))
    if len(images) <= batch_size and len(order) == len(calls):
        with contextlib.ExitStack() as stack:
            for number in order:
                stack.enter_context(observed(places[number].layer, _correcting(places[number], correct, number)))
            _run(model, images, batch_size)
        return
    for number in order:
        (moments,) = moments_at([places[number]], model, images, batch_size)
        correct(number, moments)


def _noting(calls: list[int], number: int) -> Callable[[Any], None]:
    return lambda inputs: calls.append(number)


def _adding(place: Place, moments: Moments) -> Callable[[Any], None]:
    return lambda inputs: moments.add(place.values(inputs))


def _correcting(place: Place, correct: Callable[[int, Moments], None], number: int) -> Callable[[Any], None]:
    def receives(inputs: Any) -> None:
        moments = place.moments()
        moments.add(place.values(inputs))
        correct(number, moments)

    return receives


def _run(model: Any, images: Images, batch_size: int) -> None:
    """Call a model on all images in inference mode, batch by batch."""
    for start in range(0, len(images), batch_size):
        model(tf.constant(images[start : start + batch_size]), training=False)


def _is_vector(bias: Any) -> bool:
    return bias is not None and len(bias.shape) == 1


def _channels(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _outputs_before_activation(layer: Any) -> Callable[[Any], Any]:
    return lambda inputs: before_activation(layer, inputs)
