from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tf_laq import datasets
from tf_laq.datasets.tfds import _prepared_builder as prepared_builder
from tf_laq.errors import InputError

needs_files = pytest.mark.skipif(
    not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set, so MNIST is not at hand"
)


def rows(split: datasets.Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


def assert_is_well_formed(split: datasets.Split, shape: tuple[int, ...]) -> None:
    assert split.images.dtype == np.float32 and split.labels.dtype == np.int64
    assert split.images.shape == (len(split), *shape) and split.labels.shape == (len(split),)
    assert split.images.min() == 0.0 and split.images.max() == 1.0
    assert set(split.labels) == set(range(10))


def test_digits_are_the_images_of_scikit_learn_each_in_one_part() -> None:
    digits = datasets.load("digits")
    parts = (digits.train, digits.validation, digits.test)
    for part in parts:
        assert_is_well_formed(part, (8, 8, 1))
    assert [len(part) for part in parts] == [1167, 130, 500]
    pixels, labels = load_digits(return_X_y=True)
    known = sorted(zip([row.tobytes() for row in (pixels / 16).astype(np.float32)], labels, strict=True))
    loaded = sorted(pair for part in parts for pair in zip(rows(part), part.labels, strict=True))
    assert loaded == known


def test_the_test_images_depend_on_no_argument() -> None:
    default = datasets.load("digits")
    other = datasets.load("digits", seed=7, validation_fraction=0.3)
    assert np.array_equal(default.test.images, other.test.images)
    assert np.array_equal(default.test.labels, other.test.labels)


def test_the_seed_chooses_the_validation_images() -> None:
    first, again, other = (datasets.load("digits", seed=seed) for seed in (1, 1, 2))
    assert rows(first.validation) == rows(again.validation)
    assert rows(first.train) == rows(again.train)
    assert rows(first.validation) != rows(other.validation)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.25, 0.9])
def test_validation_is_the_asked_share_in_the_proportions_of_the_classes(fraction: float) -> None:
    digits = datasets.load("digits", validation_fraction=fraction)
    assert len(digits.validation) == round(fraction * 1297)
    assert len(digits.train) + len(digits.validation) == 1297
    counts = np.bincount(digits.validation.labels, minlength=10)
    share = np.bincount(np.concatenate([digits.train.labels, digits.validation.labels])) * fraction
    assert np.abs(counts - share).max() <= 1.0


@needs_files
def test_mnist_keeps_its_published_test_images_and_cuts_validation_from_training() -> None:
    mnist = datasets.load("mnist", validation_fraction=0.1)
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [54_000, 6_000, 10_000]
    for part in (mnist.train, mnist.validation, mnist.test):
        assert_is_well_formed(part, (28, 28, 1))
    # The counts of the digits among the published test images.
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert not set(rows(mnist.train)) & set(rows(mnist.validation))
    assert mnist.classes == tuple("0123456789")


@pytest.mark.parametrize(("name", "by_environment"), [("mnist", False), ("cifar10", False), ("mnist", True)])
def test_missing_files_are_not_downloaded_unasked_and_nothing_is_written(tmp_path, monkeypatch, name, by_environment):
    import tensorflow_datasets as tfds

    def refuse(*_, **__):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(tfds.download.DownloadManager, "__init__", refuse)
    folder = tmp_path / "data"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    with pytest.raises(InputError, match=rf"{name}: expected its prepared files in .*data.*download=True"):
        datasets.load(name, data_dir=None if by_environment else folder)
    assert not list(tmp_path.iterdir())


@needs_files
def test_a_failed_download_leaves_nothing_behind_and_a_whole_one_is_put_in_its_place(tmp_path, monkeypatch) -> None:
    import tensorflow_datasets as tfds

    prepared = tfds.core.read_only_builder.builder_from_files("mnist", data_dir=os.environ["TFDS_DATA_DIR"]).data_dir

    def stop(builder, **_) -> None:
        Path(builder.data_dir).mkdir(parents=True)
        raise ConnectionError("no route to host")

    def arrive(builder, **_) -> None:
        shutil.copytree(prepared, builder.data_dir)

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", stop)
    with pytest.raises(InputError, match="a network to download them.*ConnectionError: no route to host"):
        datasets.load("mnist", data_dir=tmp_path / "new" / "data", download=True)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", arrive)
    prepared_builder("mnist", tmp_path / "new", download=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")] == ["new/mnist"]
    prepared_builder("mnist", tmp_path / "new", download=False)


def test_files_that_are_neither_there_nor_can_be_made_say_what_to_do(tmp_path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    with pytest.raises(InputError, match=r"data set mnist.*TFDS_DATA_DIR"):
        datasets.load("mnist", data_dir=occupied)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"source": "imagenet"},
            "imagenet: expected its prepared files in .* or the path of an .npz file or of a folder",
        ),
        ({"source": "digits", "validation_fraction": 1.0}, "validation_fraction"),
        ({"source": "digits", "validation_fraction": -0.1}, "validation_fraction"),
        ({"source": "digits", "validation_fraction": float("nan")}, "validation_fraction"),
        ({"source": "digits", "seed": -1}, "seed"),
        (
            {"source": "digits", "size": (8, 8, 1)},
            r"size: expected a whole number or \(a whole number, a whole number\)",
        ),
        ({"source": "digits", "size": 0}, "size: expected a whole number from 1 to 65535"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        datasets.load(**arguments)
