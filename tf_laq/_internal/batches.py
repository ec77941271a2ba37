"""Images and labels in all forms in which Keras takes them, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.errors import InputError

ImageData = npt.ArrayLike | Iterable[Any]
"""An array of images, or batches of images and labels: a `tf.data.Dataset`, a Sequence of Keras 2, a PyDataset of
Keras 3, or any other iterable that ends, such as a generator."""


def images_and_labels(images: ImageData, labels: npt.ArrayLike | None = None) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    """Return arrays as they are, and batches joined; the values are those of the caller to check.

    Args:
        images: An array, or batches of (images, labels).
        labels: The labels of an array; None with batches, which have their own.

    Raises:
        InputError: An array comes without labels or batches with them, the batches have no end or are no
            pairs, or there are none.

    Example:
        >>> batches = ((np.zeros((2, 8, 8, 1)), [label, label]) for label in (3, 7))
        >>> images, labels = images_and_labels(batches)
        >>> images.shape, labels.tolist()
        ((4, 8, 8, 1), [3, 3, 7, 7])
    """
    if not in_batches(images):
        if labels is None:
            raise InputError("labels", expected="the labels of these images", received="none")
        return images, labels  # type: ignore[return-value]  # It is an array.
    if labels is not None:
        raise InputError(
            "labels", expected=f"none beside a {type(images).__name__}, whose batches have them", received="labels"
        )
    parts = [_pair(batch) for batch in _batches(images)]
    return _joined([images for images, _ in parts]), _joined([labels for _, labels in parts])


def images_alone(images: ImageData) -> npt.ArrayLike:
    """Return an array as it is, and batches of images, or of images and labels, joined without the labels.

    Raises:
        InputError: The batches have no end, or there are none.

    Example:
        >>> images_alone(iter([np.zeros((2, 8, 8, 1)), (np.zeros((1, 8, 8, 1)), [3])])).shape
        (3, 8, 8, 1)
    """
    if not in_batches(images):
        return images  # type: ignore[return-value]  # It is an array.
    return _joined([_array(_inputs_of(batch)) for batch in _batches(images)])


def first_inputs(images: Any) -> tuple[Any, Any]:
    """Return what a model is called on first, and the same data with nothing taken from it.

    Args:
        images: Arrays, bare or in a dict or list, or batches of inputs, alone or before labels.

    Example:
        >>> first, batches = first_inputs(iter([(1.0, 0), (2.0, 1)]))
        >>> first, list(batches)
        (1.0, [(1.0, 0), (2.0, 1)])
    """
    if not in_batches(images):
        return images, images
    if hasattr(images, "element_spec"):
        # Values of this shape instead: a data set that fills a cache must not be read in part.
        return _mapped(_values, _inputs_of(images.element_spec)), images
    if _is_indexed(images):
        return _inputs_of(images[0]), images
    if not hasattr(images, "__next__"):
        return _inputs_of(next(iter(images))), images
    batch = next(images)

    def whole() -> Iterator[Any]:
        yield batch
        yield from images

    return _inputs_of(batch), whole()


def _inputs_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def _values(spec: Any) -> npt.NDArray[Any]:
    return np.zeros([1 if side is None else side for side in spec.shape], spec.dtype.as_numpy_dtype)


def _mapped(function: Callable[[Any], Any], inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: function(each) for name, each in inputs.items()}
    return [function(each) for each in inputs] if isinstance(inputs, (list, tuple)) else function(inputs)


def in_batches(images: ImageData) -> bool:
    """Return whether images come in batches: in no array or tensor, and in no list of numbers."""
    alone = isinstance(images, (list, tuple, Mapping, type)) or hasattr(images, "__array__")
    return not alone and _is_iterable(images)


def _is_iterable(images: Any) -> bool:
    return hasattr(images, "__iter__") or _is_indexed(images)


def _is_indexed(images: Any) -> bool:
    return hasattr(images, "__getitem__") and hasattr(images, "__len__")


def _batches(images: Any) -> Iterator[Any]:
    """Yield the batches of data that ends, as far as it says."""
    kind = type(images).__name__
    # A tf.data.Dataset without an end has the cardinality -1, such a PyDataset no number of batches.
    cardinality = images.cardinality() if hasattr(images, "cardinality") else 0
    if int(cardinality) == -1 or getattr(images, "num_batches", 0) is None:
        remedy = "Leave out repeat(), or take some batches with take(count)." if hasattr(images, "take") else ""
        raise InputError("images", expected="batches with an end", received=f"an infinite {kind}", remedy=remedy)
    batch = None
    # The iterators of Keras 2's own sequences never end.
    for batch in map(images.__getitem__, range(len(images))) if _is_indexed(images) else images:
        yield batch
    if batch is None:
        remedy = "A generator gives its batches once: make a new one." if hasattr(images, "__next__") else ""
        raise InputError("images", expected="at least one batch", received=f"an empty {kind}", remedy=remedy)


def _pair(batch: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        parts = isinstance(batch, (tuple, list))
        raise InputError(
            "images",
            expected="batches of (images, labels)",
            received=f"batches of {len(batch)} parts" if parts else f"batches that are a {type(batch).__name__}",
            remedy='Pick the two: .map(lambda batch: (batch["image"], batch["label"])).' if not parts else "",
        )
    images, labels = _array(batch[0]), np.asarray(batch[1])
    if labels.ndim == 0 or len(labels) != len(images):
        received = f"images of shape {images.shape} with labels of shape {labels.shape}"
        remedy = "Put single images into batches with .batch(128)." if labels.ndim == 0 else ""
        raise InputError("images", expected="batches with one label an image", received=received, remedy=remedy)
    return images, labels


def _array(images: Any) -> npt.NDArray[Any]:
    array = np.asarray(only_input(images))
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            "images",
            expected="float images in [0, 1]",
            received=f"batches of dtype {array.dtype}",
            remedy="Convert them where the batches are made: .map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)).",
        )
    return array


def only_input(images: Any) -> Any:
    """Return the one array or tensor in a dict, list or tuple of inputs, and any other as it is.

    Raises:
        InputError: There are several, or none.

    Example:
        >>> only_input({"image": 0.5})
        0.5
    """
    if not isinstance(images, (Mapping, list, tuple)):
        return images
    inputs = images if isinstance(images, Mapping) else dict(enumerate(images))
    if len(inputs) != 1:
        received = f"the inputs {', '.join(map(repr, inputs))}"
        remedy = "Attacks change one image; fix the other inputs in a model around yours."
        raise InputError("images", expected="one input, the image", received=received, remedy=remedy)
    return only_input(next(iter(inputs.values())))


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = ", ".join(map(str, dict.fromkeys(part.shape[1:] for part in parts)))
        raise InputError("images", expected="batches of one shape", received=f"shapes {shapes}") from error
