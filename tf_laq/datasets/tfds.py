"""Data sets of TensorFlow Datasets: from their prepared files, or downloaded when that is asked for."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tf_laq._internal.optional import of_extra
from tf_laq.datasets.assembling import Pairs, to_size
from tf_laq.datasets.pixels import room_for
from tf_laq.errors import InputError

_PARTS = ("train", "validation", "test")
_AT_A_TIME = 256


def folder_of(data_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of all sets: the one given, else TFDS_DATA_DIR, else the default of TensorFlow Datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def read(name: str, folder: Path, download: bool, size: tuple[int, int] | None) -> tuple[Pairs, tuple[str, ...]]:
    """Return the images and labels of a set by part, and the class names.

    Raises:
        InputError: The set is not there, has no images with labels, or has images of several sizes while `size` is
            None.
    """
    builder = _prepared_builder(name, folder, download)
    classes, shape = _checked_features(name, builder.info)
    if None in shape[:2] and size is None:
        raise InputError(
            "size",
            expected=f"a size for the images of {name}, which have several",
            received="none",
            remedy="Say the height and width of the model's inputs.",
        )
    parts = [part for part in _PARTS if part in builder.info.splits]
    if not parts:
        expected = f"one of the parts {', '.join(_PARTS)}"
        raise InputError(f"data set {name}", expected=expected, received=", ".join(builder.info.splits))
    return {part: _arrays(builder, part, shape, size) for part in parts}, classes


def _checked_features(name: str, info: Any) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Return the class names and the shape of the images of a set of images with labels."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys
    features = [info.features[key] for key in keys] if keys and set(keys) <= set(info.features) else []
    kinds = tfds.features.Image, tfds.features.ClassLabel
    if len(features) != 2 or not all(isinstance(*pair) for pair in zip(features, kinds, strict=True)):
        expected = "images with the number of a class (as_supervised)"
        raise InputError(f"data set {name}", expected=expected, received=", ".join(sorted(info.features)))
    images, labels = features
    if images.np_dtype != np.uint8:
        raise InputError(f"data set {name}", expected="images of bytes", received=f"dtype {images.np_dtype}")
    return tuple(labels.names), images.shape


def _prepared_builder(name: str, folder: Path, download: bool) -> Any:
    """Return the builder of a set that is prepared in a folder, or that is downloaded into it."""
    with of_extra("data"):
        import tensorflow_datasets as tfds

    # A builder made from the files alone neither writes nor asks a server.
    ways = {"its prepared files": tfds.core.read_only_builder.builder_from_files}
    if download:
        ways["a network to download them"] = _downloaded
    with warnings.catch_warnings():
        # It asks protobuf for what is deprecated there; made an error, that warning would be the failure.
        warnings.simplefilter("ignore", DeprecationWarning)
        for way in ways.values():
            # Files are damaged and downloads fail in many ways, and no message of theirs says what to do.
            try:
                return way(name, data_dir=str(folder))
            except Exception as error:
                failure = error
    absent = isinstance(failure, tfds.core.registered.DatasetNotFoundError)
    received = "none" if absent else f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0]}"
    raise absence(name, f"{' or '.join(ways)} in {folder}", received) from failure


def absence(name: str, expected: str, received: str) -> InputError:
    """Return the error for a set that cannot be read."""
    return InputError(
        f"data set {name}",
        expected=expected,
        received=received,
        remedy=(
            f"Run `tfds build {name}`, or load it with download=True (--download), where there is a network, and name "
            "the folder by TFDS_DATA_DIR or data_dir. 'digits' needs no files."
        ),
    )


def _downloaded(name: str, *, data_dir: str) -> Any:
    """Prepare a set beside the folder, and put it in its place when it is whole."""
    import tensorflow_datasets as tfds

    folder = Path(data_dir).absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with tempfile.TemporaryDirectory(prefix=".downloading-", dir=nearest) as temporary:
        builder = tfds.builder(name, data_dir=temporary)
        builder.download_and_prepare()
        prepared = Path(builder.data_dir)
        place = folder / prepared.relative_to(temporary)
        place.parent.mkdir(parents=True, exist_ok=True)
        prepared.rename(place)
    return tfds.builder_from_directory(str(place))


def _arrays(
    builder: Any, part: str, shape: tuple[int | None, ...], size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a part in the stored order; its images have this shape, or this size if there is one."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    examples = builder.as_dataset(split=part, as_supervised=True)
    if size is not None:
        examples = examples.map(lambda image, label: (to_size(image, size), label), tf.data.AUTOTUNE)
    count = builder.info.splits[part].num_examples
    images = room_for((count, *cast("tuple[int, ...]", (*(size or shape[:2]), shape[2]))))
    labels, first = np.empty(count, np.int64), 0
    for some_images, some_labels in tfds.as_numpy(examples.batch(_AT_A_TIME)):
        some = slice(first, first := first + len(some_labels))
        images[some], labels[some] = some_images, some_labels
    return images, labels
