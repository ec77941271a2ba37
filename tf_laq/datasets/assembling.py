"""A data set of arrays: labels become numbers, images one size and one range, and missing parts are cut."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_laq._internal.batches import ImageData, images_and_labels
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import checked_images, checked_labels, real, whole
from tf_laq.datasets.parts import Dataset, Split, come_by_class, in_proportion, stratified
from tf_laq.datasets.pixels import check_brightness, room_for, rows_of
from tf_laq.errors import InputError

Size = int | tuple[int, int]
"""Height and width, or one number for both."""

Pairs = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""Images and labels of "train", "validation" and "test"."""

_TEST_SHARE = 0.2
_AT_A_TIME = 256
_LONGEST_SIDE = 65_535


@typed
def from_arrays(
    images: ImageData,
    labels: ArrayLike | None = None,
    *,
    validation: tuple[ArrayLike, ArrayLike] | ImageData | None = None,
    test: tuple[ArrayLike, ArrayLike] | ImageData | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    size: Size | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> Dataset:
    """Return a data set of arrays, or of batches such as those of a `tf.data.Dataset`, which are joined.

    Without test images, a fifth of the images given become the test images: always the same ones, in the proportions of
    the classes. Without validation images, these are then cut from the training images, as in `load`. A part that comes
    class by class is mixed, as there; any other order is kept.

    Args:
        images: uint8 images, or floating-point images in [0, 1], of shape (n, height, width, channels) or
            (n, height, width); or batches of (images, labels).
        labels: Class numbers, one-hot rows or class names, one per image; None with batches.
        validation: The same, as (images, labels) or in batches, of the validation images.
        test: The same of the test images.
        classes: The class names in the order of the numbers; None for the names among the labels, sorted, or the
            numbers themselves.
        name: What the data set is called in results.
        size: Height and width to give all images, or one number for both; None leaves them as they are.
        seed: Chooses the validation images.
        validation_fraction: The share of the training images to validate on, in [0, 1).

    Returns:
        Images as float32 in [0, 1], labels as int64.

    Raises:
        InputError: Images and labels are not as above or do not fit each other, the parts have images of different
            shapes, a class is in the training images and not in the test images, or the other way round, there are
            training images and a number is left out, or the bytes of a part are all the same, or none above 1.

    Warns:
        DarkImagesWarning: The brightest byte of a part is below 32.

    Example:
        >>> images = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
        >>> labels = ["cat", "dog"] * 10
        >>> pets = from_arrays(images, labels, name="pets")
        >>> pets.classes, pets.train, pets.test
        (('cat', 'dog'), Split(14 images of 8x8x1), Split(4 images of 8x8x1))
    """
    given = {"train": (images, labels), "validation": validation, "test": test}
    parts = {part: _joined(pair) for part, pair in given.items() if pair is not None}
    return assembled(name, parts, classes=classes, size=size, seed=seed, validation_fraction=validation_fraction)


def _joined(pair: Any) -> tuple[ArrayLike, ArrayLike]:
    images, labels = pair if isinstance(pair, tuple) else (pair, None)
    return images_and_labels(images, labels)


def assembled(
    name: str,
    parts: Pairs,
    *,
    classes: Sequence[str] | None = None,
    size: Size | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> Dataset:
    """Return the data set of these parts, with those that are missing cut from others.

    Arguments and errors are those of `from_arrays`. Where there are training and validation images and no others, the
    latter are the test images.
    """
    check_settings(seed, validation_fraction)
    sides = checked_size(size)
    numbers, names, are_numbers = _numbered(name, parts, classes)
    arrays = {}
    for part, (images, _) in parts.items():
        with _naming(f"{name}, {part}"):
            checked = _checked(images, len(numbers[part]))
            arrays[part] = _sized(checked, sides)
        if checked.dtype == np.uint8 and checked.size:
            check_brightness(f"{name}, {part}: images", checked)
    shapes = {part: array.shape[1:] for part, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        received = ", ".join(f"{shape} in {part}" for part, shape in shapes.items())
        remedy = "Say a size that all images get."
        raise InputError(f"data set {name}", expected="images of one shape", received=received, remedy=remedy)
    whole_parts = {part: (arrays[part], numbers[part]) for part in parts if len(numbers[part])}
    train, validation, test = _cut(whole_parts, seed, validation_fraction)
    _check_classes(name, names, {"training": train, "validation": validation, "test": test})
    if classes is None and train is not None:
        _check_numbers(name, numbers)
    nothing = test[0][:0], test[1][:0]
    splits = (Split.of(*(part or nothing)) for part in (train, validation, test))
    set_aside = set(whole_parts) == {"train"}
    return Dataset(name, names, *splits, numbered=are_numbers and classes is None, set_aside=set_aside)


def check_settings(seed: int, validation_fraction: float) -> None:
    """Refuse a seed or a share that `load` does not take."""
    real("validation_fraction", validation_fraction)
    if validation_fraction >= 1.0:
        raise InputError("validation_fraction", expected="a share in [0, 1)", received=validation_fraction)
    whole("seed", seed, minimum=0)


def checked_size(size: Size | None) -> tuple[int, int] | None:
    """Return height and width.

    Raises:
        InputError: They are not one or two whole numbers of at least 1.

    Example:
        >>> checked_size(96)
        (96, 96)
    """
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise InputError("size", expected="a number of pixels, or height and width", received=repr(size))
    for side in sides:
        whole("size", side, maximum=_LONGEST_SIDE)
    return int(sides[0]), int(sides[1])


def to_size(images: Any, size: tuple[int, int]) -> Any:
    """Return a tensor of images, or of one image, in another size, with its dtype, as Keras resizes images of a folder.

    That is bilinear, with no care for the proportions of the sides.
    """
    import tensorflow as tf

    resized = tf.image.resize(images, size)
    return tf.cast(tf.round(resized), images.dtype) if images.dtype.is_integer else resized


def _sized(images: NDArray[Any], size: tuple[int, int] | None) -> NDArray[Any]:
    if size is None or images.shape[1:3] == size:
        return images
    import tensorflow as tf

    sized = room_for((len(images), *size, images.shape[3]), images.dtype)
    for first in range(0, len(images), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        sized[some] = to_size(tf.constant(images[some]), size)
    return sized


def _checked(images: ArrayLike, count: int) -> NDArray[Any]:
    """Return images as bytes or as float32, of four axes."""
    try:
        array = np.asarray(images)
    except ValueError as error:  # What has no shape is no array.
        remedy = "Resize them all to one size."
        raise InputError("images", expected="images of one size", received="several sizes", remedy=remedy) from error
    if not array.ndim or len(array) != count:
        received = len(array) if array.ndim else f"a {type(images).__name__}"
        raise InputError("images", expected=f"{count}, one per label", received=received)
    if array.dtype != np.uint8 and count:
        array = checked_images(array)
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4:
        expected = "images of shape (n, height, width, channels) or (n, height, width)"
        raise InputError("images", expected=expected, received=f"shape {array.shape}")
    return array


def _numbered(
    name: str, parts: Pairs, classes: Sequence[str] | None
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...], bool]:
    """Return the labels of each part as numbers, the names of the classes, and whether they were given as numbers."""
    labels = {part: np.asarray(of) for part, (_, of) in parts.items()}
    for part, array in labels.items():
        if not array.ndim or array.dtype.kind == "S":
            expected = "class numbers, one-hot rows or class names as text, one an image"
            raise InputError(f"{name}, {part}, labels", expected=expected, received=repr(array.tolist())[:80])
    labels = {part: array for part, array in labels.items() if array.size}
    if not labels:
        raise InputError(f"data set {name}", expected="images with labels", received="no images")
    are_names = all(array.dtype.kind in "SU" for array in labels.values())
    if are_names:
        labels = {part: array.astype(str).ravel() for part, array in labels.items()}
        found = np.unique(np.concatenate(list(labels.values()))).tolist()
        names = tuple(found if classes is None else classes)
        unknown = [label for label in found if label not in names]
        if unknown:
            raise InputError("classes", expected="the names of all labels", received=f"none for {unknown[0]!r}")
        position = {label: number for number, label in enumerate(names)}
        numbers = {part: np.array([position[label] for label in array]) for part, array in labels.items()}
    else:
        numbers = {}
        for part, array in labels.items():
            with _naming(f"{name}, {part}"):
                numbers[part] = checked_labels(array, len(array))
        highest = max(int(array.max()) for array in numbers.values())
        names = tuple(map(str, range(highest + 1))) if classes is None else tuple(classes)
        if highest >= len(names):
            expected = f"labels below {len(names)}, the number of classes"
            raise InputError(f"data set {name}", expected=expected, received=f"the label {highest}")
    if len(names) < 2:
        raise InputError(f"data set {name}", expected="at least two classes", received=", ".join(names))
    nothing = np.zeros(0, np.int64)
    return {part: numbers.get(part, nothing).astype(np.int64) for part in parts}, names, not are_names


_Part = tuple[NDArray[Any], NDArray[np.int64]]
_GivenPart = TypeVar("_GivenPart", _Part, _Part | None)


def _cut(parts: dict[str, _Part], seed: int, validation_fraction: float) -> tuple[_Part | None, _Part | None, _Part]:
    whole, validation, test = (parts.get(part) for part in ("train", "validation", "test"))
    if test is None and validation is not None:
        validation, test = None, validation
    if whole is None:
        assert test is not None
        return None, _mixed(validation), _mixed(test)
    # The positions of all parts first: images are copied once.
    rows, labels = np.arange(len(whole[1])), whole[1]
    if test is None:
        rows, tested = stratified(labels, round(_TEST_SHARE * len(labels)), seed=0)
        test = _rows(whole, tested)
    if validation is None:
        kept, validated = stratified(labels[rows], round(validation_fraction * len(rows)), seed)
        validation, rows = _rows(whole, rows[validated]), rows[kept]
    train = whole if len(rows) == len(labels) else _rows(whole, rows)
    return _mixed(train), _mixed(validation), _mixed(test)


def _rows(part: _Part, rows: NDArray[np.intp]) -> _Part:
    """Return some images of a part, the first of which stand for all: evaluations, corrections, policies take these."""
    images, labels = part
    if come_by_class(labels[rows]):
        rows = rows[in_proportion(labels[rows], seed=0)]
    return rows_of(images, rows), labels[rows]


def _mixed(part: _GivenPart) -> _GivenPart:
    if part is None or not come_by_class(part[1]):
        return part
    return _rows(part, np.arange(len(part[1])))


def _check_classes(name: str, names: tuple[str, ...], parts: Mapping[str, _Part | None]) -> None:
    """Refuse a class that is in one of the parts and missing in the training or the test images."""
    seen = {part: set(pair[1].tolist()) for part, pair in parts.items() if pair is not None}
    for part in [part for part in seen if part != "validation"]:
        missing = sorted(set().union(*seen.values()) - seen[part])
        if missing:
            more = f" and of {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"data set {name}",
                expected="every class among the training and the test images",
                received=f"no {part} image of class {names[missing[0]]!r}{more}",
                remedy="Add images, at least five of a class where the test images are cut from the others, or leave "
                "the class out.",
            )


def _check_numbers(name: str, numbers: Mapping[str, NDArray[np.int64]]) -> None:
    """Refuse class numbers that leave one out: it would be a class without images."""
    seen = np.unique(np.concatenate(list(numbers.values())))
    missing = np.setdiff1d(np.arange(seen[-1]), seen)
    if missing.size:
        expected = f"every class number from 0 to {seen[-1]} among the labels"
        remedy = "Number the classes from 0, without a gap."
        raise InputError(f"data set {name}", expected=expected, received=f"no image of {missing[0]}", remedy=remedy)


@contextlib.contextmanager
def _naming(subject: str) -> Iterator[None]:
    """Put the name of a part before the message of an error."""
    try:
        yield
    except InputError as error:
        error.args = (f"{subject}: {error}",)
        raise
