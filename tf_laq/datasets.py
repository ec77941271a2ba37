"""Image data sets: the 8x8 digits of scikit-learn, and MNIST and CIFAR-10 from TensorFlow Datasets."""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_laq._internal import archives
from tf_laq._internal.validation import one_of, whole
from tf_laq.errors import InputError

_DIGITS_TEST_IMAGES = 500


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in the same order.

    Attributes:
        images: float32 (n, height, width, channels) in [0, 1].
        labels: int64 (n,), from 0.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def sha256(self) -> str:
        """SHA-256 of the images and the labels, with shapes and dtypes, as hexadecimal text.

        Example:
            >>> load("digits").test.sha256[:8]
            '6e5a39fd'
        """
        return archives.sha256([self.images, self.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {'x'.join(map(str, self.images.shape[1:]))})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in three disjoint parts.

    Attributes:
        name: The name that `load` knows it by.
        classes: The class names; the label is the index.
        train: What weights are fitted on.
        validation: What settings are chosen on; cut from the training images.
        test: What figures are reported on; always the same images.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


def names() -> list[str]:
    """Return the names that `load` knows."""
    return ["cifar10", "digits", "mnist"]


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> Dataset:
    """Load a data set as arrays.

    The test images do not depend on `seed` or `validation_fraction`. The validation images are drawn from the
    training images, class by class in the proportions of the classes, so that every class is in both.

    Args:
        name: "digits" (1,797 images of 8x8, in scikit-learn; 500 of them are the test images), "mnist" or
            "cifar10".
        data_dir: The folder of TensorFlow Datasets; None takes TFDS_DATA_DIR from the environment, else its
            default. Ignored for the digits.
        download: Download a set that is not there into that folder, whole or not at all. Otherwise nothing is
            written anywhere, and the network is not used.
        seed: Chooses the validation images.
        validation_fraction: The share of the training images to validate on, in [0, 1).

    Returns:
        Images as float32 in [0, 1], labels as int64.

    Raises:
        InputError: Unknown name, a fraction out of range, or a set that is not there and was not to be downloaded,
            or could not be.

    Example:
        >>> digits = load("digits")
        >>> digits.train, digits.validation, digits.test
        (Split(1167 images of 8x8x1), Split(130 images of 8x8x1), Split(500 images of 8x8x1))
    """
    one_of("name", name, names())
    if not 0.0 <= validation_fraction < 1.0:
        raise InputError("validation_fraction", expected="a share in [0, 1)", received=validation_fraction)
    whole("seed", seed, minimum=0)
    if name == "digits":
        return _digits(seed, validation_fraction)
    return _from_tensorflow_datasets(name, data_dir, download, seed, validation_fraction)


def _digits(seed: int, validation_fraction: float) -> Dataset:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    # The pixels are counts from 0 to 16.
    images = (pixels / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int64)
    training, test = _stratified(labels, _DIGITS_TEST_IMAGES, seed=0)
    kept, validation = _stratified(labels[training], round(validation_fraction * len(training)), seed)
    return Dataset(
        "digits",
        tuple("0123456789"),
        train=Split(images[training[kept]], labels[training[kept]]),
        validation=Split(images[training[validation]], labels[training[validation]]),
        test=Split(images[test], labels[test]),
    )


def _from_tensorflow_datasets(
    name: str, data_dir: str | os.PathLike[str] | None, download: bool, seed: int, validation_fraction: float
) -> Dataset:
    folder = data_dir if data_dir is not None else os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    builder = _prepared_builder(name, Path(folder).expanduser(), download)
    training, test = (_arrays(builder, split) for split in ("train", "test"))
    kept, validation = _stratified(training[1], round(validation_fraction * len(training[1])), seed)
    return Dataset(
        name,
        tuple(builder.info.features["label"].names),
        train=_scaled(training[0][kept], training[1][kept]),
        validation=_scaled(training[0][validation], training[1][validation]),
        test=_scaled(*test),
    )


def _prepared_builder(name: str, folder: Path, download: bool) -> Any:
    """Return the builder of a set that is prepared in a folder, or that is downloaded into it."""
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
    raise InputError(
        f"data set {name}",
        expected=f"{' or '.join(ways)} in {folder}",
        received="none" if absent else f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0]}",
        remedy=(
            f"Run `tfds build {name}`, or load it with download=True (--download), where there is a network, and name "
            "the folder by TFDS_DATA_DIR or data_dir. 'digits' needs no files."
        ),
    ) from failure


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


def _arrays(builder: Any, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a split as it is stored, in the stored order."""
    import tensorflow_datasets as tfds

    # One batch of everything: the images take 47 MB (MNIST) or 154 MB (CIFAR-10) as bytes.
    arrays = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    return arrays["image"], arrays["label"].astype(np.int64)


def _scaled(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Split:
    return Split(np.divide(images, 255.0, dtype=np.float32), labels)


def _stratified(labels: NDArray[np.int64], taken: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split the positions of `labels` into (rest, taken), both sorted, in the proportions of the classes."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # Walking through each class in step puts every prefix in the classes' proportions, for any number taken.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    ranked = np.argsort(position, kind="stable")
    return np.sort(ranked[taken:]), np.sort(ranked[:taken])
