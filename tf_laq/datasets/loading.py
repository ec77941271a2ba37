"""Loading a data set by its name, from a file or from a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tf_laq._internal.typed import typed
from tf_laq.datasets import folders, npz, tfds
from tf_laq.datasets.assembling import Pairs, Size, assembled, check_settings, checked_size
from tf_laq.datasets.parts import Dataset, stratified
from tf_laq.errors import InputError

Source = str | os.PathLike[str] | Dataset
"""A name, a path or a data set."""

_DIGITS_TEST_IMAGES = 500
_DIGITS = Path(__file__).parent / "digits.npz"


def names() -> list[str]:
    """Return the names of the data sets that have recipes and attacks of their own; `load` takes others too."""
    return ["cifar10", "digits", "mnist"]


@typed
def load(
    source: Source,
    *,
    size: Size | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> Dataset:
    """Load a data set.

    What may be a source:

    - "digits": 1,797 images of 8x8, which come with the package; 500 of them are the test images.
    - A name of TensorFlow Datasets, such as "mnist", "cifar10" or "oxford_flowers102", of a set of images with classes.
    - The path of an .npz file with the arrays `images` and `labels`, or `train_images`, `train_labels`, `test_images`,
      `test_labels` and, if there are any, `validation_images` and `validation_labels`. The names `x_train`, `y_train`,
      `x_test` and `y_test` of Keras's own files do too. Images are bytes, or floating-point numbers in [0, 1]; labels
      are as in `from_arrays`. A file with pickled objects is refused, since to load them is to run code.
    - The path of a folder with a folder of images for each class, named like the class; or with folders `train`,
      `test` and, if there is one, `validation` (or `val`, `valid`) of such, in capitals or not. A class has images in
      its folder itself, and may have more in folders below. The images are BMP, GIF, JPEG or PNG files. They are grey
      if all are, else grey ones become colour ones; `keras.utils.image_dataset_from_directory` makes all of them colour
      ones unless told. As there, alpha channels are dropped, and of 16 bits the upper eight are kept; resizing is the
      same.
    - A `Dataset`, which is returned as it is.

    The names of `names()` come before paths: write "./mnist" for a folder of that name.

    Where there are no test images, the validation images take their place, or else a fifth of the training images,
    whatever the seed. Where there are no validation images, they are drawn from the training images. Both are drawn
    class by class in the proportions of the classes.

    A part that comes class by class, as folders do, is put in an order of which every first n images have the classes
    in their proportions, always the same one: policies, corrections and evaluations look at the first images. Any other
    order is kept.

    A part that takes up to 1 GiB as float32 is held so in memory. The images of a larger one are decoded into a
    temporary file, one byte a value or, of an .npz file, as they are there, and read from there when they are needed.

    Args:
        source: The name or path.
        size: Height and width that all images get, or one number for both; needed where the images have several sizes.
            Resizing is bilinear and does not keep the proportions of the sides.
        data_dir: The folder of TensorFlow Datasets; None takes TFDS_DATA_DIR from the environment, else its default.
        download: Download a set of TensorFlow Datasets that is not there into that folder, whole or not at all.
            Otherwise nothing is written anywhere, and the network is not used.
        seed: Chooses the validation images.
        validation_fraction: The share of the training images to validate on, in [0, 1).

    Returns:
        Images as float32 in [0, 1], labels as int64.

    Raises:
        InputError: There is no such data set; its files cannot be read; images or labels are not as above; there are no
            images, or none of a class; the bytes of a part are all the same, or none above 1; or an argument is out of
            range.

    Warns:
        DarkImagesWarning: The brightest byte of a part is below 32.

    Example:
        >>> digits = load("digits")
        >>> digits.train, digits.validation, digits.test
        (Split(1167 images of 8x8x1), Split(130 images of 8x8x1), Split(500 images of 8x8x1))
    """
    if isinstance(source, Dataset):
        return source
    check_source(source, data_dir=data_dir, download=download)
    check_settings(seed, validation_fraction)
    sides, name, classes = checked_size(size), os.fspath(source), None
    parts: Pairs
    if name == "digits":
        parts = _digits()
    elif (kind := _kind_of_path(name)) is not None:
        parts = npz.read(name) if kind == "file" else folders.read(Path(name), sides)
    else:
        parts, classes = tfds.read(name, tfds.folder_of(data_dir), download, sides)
    return assembled(name, parts, classes=classes, size=sides, seed=seed, validation_fraction=validation_fraction)


@typed
def check_source(source: Source, *, data_dir: str | os.PathLike[str] | None = None, download: bool = False) -> None:
    """Refuse a data set that is not there, without TensorFlow and without reading it.

    Arguments are those of `load`.

    Raises:
        InputError: There is no such file or folder, and no such data set that is prepared or may be downloaded.

    Example:
        >>> check_source("pets.npz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: data set pets.npz: expected a file or folder. Received: none of that name...
    """
    if isinstance(source, Dataset) or os.fspath(source) == "digits":
        return
    name = os.fspath(source)
    if (kind := _kind_of_path(name)) is not None:
        if kind == "absent":
            raise InputError(f"data set {name}", expected="a file or folder", received="none of that name")
        if kind == "file" and Path(name).suffix != ".npz":
            expected = "an .npz file, or a folder of images by class"
            raise InputError(f"data set {name}", expected=expected, received="another file")
        return
    folder = tfds.folder_of(data_dir)
    # A name may go on with a configuration and a version: "emnist/letters:3.1.0".
    if not download and not (folder / name.replace(":", "/").partition("/")[0]).is_dir():
        expected = f"its prepared files in {folder}, or the path of an .npz file or of a folder of images by class"
        raise tfds.absence(name, expected, "none")


def _kind_of_path(name: str) -> str | None:
    """Return whether a source is a "file", a "folder" or "absent"; None for a name of TensorFlow Datasets."""
    path = Path(name)
    if name in names():
        return None
    if path.is_dir() and name:
        return "folder"
    if path.is_file():
        return "file"
    is_path = not name or path.suffix == ".npz" or path.is_absolute() or name.startswith(".") or name.endswith("/")
    return "absent" if is_path else None


def _digits() -> Pairs:
    """Return the test images of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), as two parts.

    They are under CC BY 4.0, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, in the order in which
    scikit-learn has them.
    """
    with np.load(_DIGITS) as arrays:
        # The pixels are counts from 0 to 16.
        images, labels = arrays["pixels"].astype(np.float32)[..., None] / 16.0, arrays["labels"].astype(np.int64)
    training, test = stratified(labels, _DIGITS_TEST_IMAGES, seed=0)
    return {"train": (images[training], labels[training]), "test": (images[test], labels[test])}
