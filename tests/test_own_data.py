"""Data of the user's own: arrays, files, folders of images, and any set of TensorFlow Datasets."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, strategies as st

from tf_laq import datasets
from tf_laq.datasets import pixels
from tf_laq.errors import InputError

CLASSES = ("cat", "dog", "eel")


def pictures(count: int, shape: tuple[int, ...] = (6, 5, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def numbers(count: int, classes: int = 3) -> np.ndarray:
    return np.arange(count) % classes


def write_images(folder, images, labels, names=CLASSES, ending="png") -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / names[label] / f"{number:03}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())


def sizes(data: datasets.Dataset) -> list[int]:
    return [len(split) for split in (data.train, data.validation, data.test)]


def rows(*splits: datasets.Split) -> set[tuple[bytes, int]]:
    pairs = [pair for split in splits for pair in zip(np.asarray(split.images), split.labels, strict=True)]
    return {(image.tobytes(), int(label)) for image, label in pairs}


def test_one_part_is_cut_into_three_in_the_proportions_of_the_classes() -> None:
    images, labels = pictures(60), numbers(60)
    data = datasets.from_arrays(images, labels)
    assert sizes(data) == [43, 5, 12]
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert data.train.images.dtype == np.float32 and data.train.labels.dtype == np.int64
    everything = datasets.Split((images / 255).astype(np.float32), labels)
    assert rows(data.train, data.validation, data.test) == rows(everything)
    other = datasets.from_arrays(images, labels, seed=3, validation_fraction=0.5)
    assert other.test.sha256 == data.test.sha256 and sizes(other) == [24, 24, 12]


def test_parts_that_are_given_stay_whole_and_in_order() -> None:
    images, labels = pictures(30), numbers(30)
    data = datasets.from_arrays(
        images[:15], labels[:15], validation=(images[15:21], labels[15:21]), test=(images[21:], labels[21:])
    )
    assert sizes(data) == [15, 6, 9]
    np.testing.assert_array_equal(data.test.images, np.divide(images[21:], 255, dtype=np.float32))
    np.testing.assert_array_equal(data.validation.labels, labels[15:21])


@given(
    counts=st.lists(st.integers(4, 40), min_size=2, max_size=5),
    blocks=st.integers(1, 2),
    falling=st.booleans(),
)
def test_images_that_come_class_by_class_are_mixed_so_that_the_first_stand_for_all(counts, blocks, falling) -> None:
    labels = np.tile(np.repeat(np.arange(len(counts)), counts), blocks)
    labels = labels[::-1] if falling else labels
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1) / len(labels)
    mixed = datasets.from_arrays(images, labels, test=(images, labels)).test
    assert rows(mixed) == rows(datasets.Split(images, labels))
    shares = np.bincount(labels) / len(labels)
    for first in range(len(labels)):
        found = np.bincount(mixed.labels[:first], minlength=len(counts))
        assert np.abs(found - first * shares).max() < len(counts)


@given(st.permutations([0, 1, 2] * 4 + [0, 1, 2, 2, 1, 0] * 3))
def test_images_in_an_order_of_their_own_keep_it(order) -> None:
    labels = np.array(order)
    assume(np.mean(labels[1:] == labels[:-1]) < 0.6)
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1) / len(labels)
    data = datasets.from_arrays(images, labels, test=(images, labels))
    np.testing.assert_array_equal(data.test.images, images)
    np.testing.assert_array_equal(data.test.labels, labels)


def test_the_first_images_of_a_folder_are_of_all_its_classes(tmp_path) -> None:
    write_images(tmp_path / "train", pictures(90), numbers(90))
    write_images(tmp_path / "test", pictures(30, seed=1), numbers(30))
    data = datasets.load(tmp_path)
    for split in (data.train, data.validation, data.test):
        assert np.bincount(split.labels[:3]).tolist() == [1, 1, 1]
    assert datasets.load(tmp_path).test.sha256 == data.test.sha256


def test_where_there_are_training_and_validation_images_the_latter_are_the_test_images() -> None:
    images, labels = pictures(40), numbers(40)
    data = datasets.from_arrays(images[:30], labels[:30], validation=(images[30:], labels[30:]))
    assert sizes(data) == [27, 3, 10]
    np.testing.assert_array_equal(data.test.labels, labels[30:])


def test_batches_of_tf_data_are_joined() -> None:
    images, labels = pictures(30).astype(np.float32) / 255, numbers(30)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(7)
    from_batches = datasets.from_arrays(batches, test=batches)
    assert from_batches.train.sha256 == datasets.from_arrays(images, labels, test=(images, labels)).train.sha256


def test_names_and_one_hot_rows_become_numbers() -> None:
    images, labels = pictures(30), numbers(30)
    named = datasets.from_arrays(images, np.array(CLASSES)[labels])
    assert named.classes == CLASSES
    for form in (np.eye(3)[labels], labels[:, None], labels.tolist()):
        data = datasets.from_arrays(images, form)
        assert data.classes == ("0", "1", "2")
        np.testing.assert_array_equal(data.train.labels, named.train.labels)
    ordered = datasets.from_arrays(images, np.array(CLASSES)[labels], classes=("eel", "dog", "cat"))
    np.testing.assert_array_equal(ordered.test.labels, 2 - named.test.labels)


def test_images_are_resized_as_keras_resizes_those_of_a_folder() -> None:
    images = pictures(30, (9, 12, 3))
    data = datasets.from_arrays(images, numbers(30), test=(images, numbers(30)), size=(6, 4))
    resized = tf.image.resize(images, (6, 4)).numpy() / 255
    assert np.abs(data.test.images - resized).max() < 0.51 / 255
    floats = datasets.from_arrays(np.float32(images / 255), numbers(30), test=(images, numbers(30)), size=6)
    assert floats.test.images.shape == (30, 6, 6, 3) == (30, *floats.train.images.shape[1:])


def test_large_parts_stay_bytes_until_they_are_read(monkeypatch) -> None:
    images, labels = pictures(30), numbers(30)
    whole = datasets.from_arrays(images, labels)
    monkeypatch.setattr(pixels, "LARGEST_IN_MEMORY", 250)
    held = datasets.from_arrays(images, labels)
    assert isinstance(held.train.images, datasets.ScaledImages) and held.train.images.pixels.dtype == np.uint8
    assert held.train.images.shape == whole.train.images.shape
    assert held.train.images.dtype == held.train.images[3:5].dtype == np.float32
    np.testing.assert_array_equal(held.train.images[3:5], whole.train.images[3:5])
    np.testing.assert_array_equal(tf.constant(held.train.images), whole.train.images)
    monkeypatch.setattr(datasets.ScaledImages, "__array__", None)  # All of them as float32 are not made.
    assert held.train.sha256 == whole.train.sha256


@pytest.mark.parametrize("name", ["pets", "bytes.npz", "floats.npz"])
def test_large_parts_are_in_a_file_and_not_in_memory(name, tmp_path, monkeypatch) -> None:
    images, labels = pictures(200, (60, 60, 3)), numbers(200)
    if name == "pets":
        write_images(tmp_path / name, images, labels)
    else:
        images = np.float32(images / 255) if name == "floats.npz" else images
        np.savez(tmp_path / name, images=images, labels=labels)
    whole = datasets.load(tmp_path / name)
    monkeypatch.setattr(pixels, "LARGEST_IN_MEMORY", 10_000)
    tracemalloc.start()
    held = datasets.load(tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * images.nbytes
    for part in ("train", "validation", "test"):
        assert getattr(held, part).sha256 == getattr(whole, part).sha256
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_where_large_parts_have_no_room_it_is_said_how_much_they_need(monkeypatch) -> None:
    monkeypatch.setattr(pixels, "LARGEST_IN_MEMORY", 0)
    with pytest.raises(InputError, match=r"data: expected [\d,]+ bytes for images in the folder of temporary files"):
        pixels.room_for((10**6, 10**6, 10**3))


@pytest.mark.parametrize(
    "names", ["train_images train_labels test_images test_labels", "x_train y_train x_test y_test"]
)
def test_an_npz_file_has_the_names_of_its_parts(tmp_path, names) -> None:
    images, labels = pictures(30, (6, 5)), numbers(30)
    arrays = dict(zip(names.split(), (images[:20], labels[:20], images[20:], labels[20:]), strict=True))
    np.savez(tmp_path / "pets.npz", **arrays, val_images=images, val_labels=labels)
    data = datasets.load(tmp_path / "pets.npz")
    assert data.name == str(tmp_path / "pets.npz")
    assert sizes(data) == [20, 30, 10]
    assert data.test.images.shape == (10, 6, 5, 1)
    np.savez(tmp_path / "test.npz", test_images=images, test_labels=labels)
    assert sizes(datasets.load(str(tmp_path / "test.npz"))) == [0, 0, 30]


def test_an_npz_file_of_one_part_is_cut(tmp_path) -> None:
    images, labels = pictures(60), np.array(CLASSES)[numbers(60)]
    np.savez(tmp_path / "pets.npz", images=images, labels=labels)
    data = datasets.load(tmp_path / "pets.npz", validation_fraction=0.5)
    assert data.test.sha256 == datasets.from_arrays(images, labels).test.sha256
    assert data.classes == CLASSES


def test_an_npz_file_with_pickled_objects_is_not_loaded(tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the file ran code",))

    np.savez(tmp_path / "pets.npz", images=pictures(6), labels=np.array([Bomb()] * 6, object))
    with pytest.raises(InputError, match=r"pets.npz: expected a NumPy .npz file .*labels as numbers or texts"):
        datasets.load(tmp_path / "pets.npz")


def test_a_folder_has_a_folder_for_each_class(tmp_path) -> None:
    images, labels = pictures(30), numbers(30)
    write_images(tmp_path, images, labels)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = datasets.load(tmp_path)
    assert data.classes == CLASSES
    assert sizes(data) == [22, 2, 6]
    everything = datasets.Split(np.divide(images, 255, dtype=np.float32), labels)
    assert rows(data.train, data.validation, data.test) == rows(everything)


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Train", "VALID", "Test")])
def test_a_folder_may_have_folders_of_parts(tmp_path, parts) -> None:
    for part, count in zip(parts, (12, 6, 9), strict=True):
        write_images(tmp_path / part, pictures(count), numbers(count))
    assert sizes(datasets.load(tmp_path)) == [12, 6, 9]


def test_a_class_with_images_of_its_own_has_those_in_folders_below_too(tmp_path) -> None:
    write_images(tmp_path, pictures(30), numbers(30))
    write_images(tmp_path / "cat", pictures(6, seed=1), numbers(6, 2), names=("tabby", "siamese"))
    data = datasets.load(tmp_path)
    assert data.classes == CLASSES and sum(sizes(data)) == 36


def test_resized_images_of_a_folder_are_those_of_keras(tmp_path) -> None:
    import keras

    for number in range(12):
        write_images(tmp_path / "test", pictures(2, (7 + number, 9, 3), number), [0, 1])
        for name in ("cat", "dog"):
            path = tmp_path / "test" / name / f"{['cat', 'dog'].index(name):03}.png"
            path.rename(path.with_name(f"a{number:02}.png"))
    data = datasets.load(tmp_path, size=(8, 6))
    expected = keras.utils.image_dataset_from_directory(
        tmp_path / "test", image_size=(8, 6), shuffle=False, batch_size=None, verbose=False
    )
    theirs, labels = (np.stack(values) for values in zip(*expected.as_numpy_iterator(), strict=True))
    assert len(data.test) == len(labels)
    apart = np.abs(data.test.images[:, None] * 255 - theirs).max(axis=(2, 3, 4))
    assert apart.min(axis=1).max() <= 0.51
    assert sorted(apart.argmin(axis=1)) == list(range(len(labels)))
    assert data.test.labels.tolist() == labels[apart.argmin(axis=1)].tolist()


def test_grey_images_stay_grey_alpha_is_dropped_and_of_sixteen_bits_the_upper_are_kept(tmp_path) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (30, 6, 5, 2), np.uint16)
    write_images(tmp_path / "grey" / "test", deep, numbers(30))
    grey = datasets.load(tmp_path / "grey").test
    expected = {np.divide(image[..., :1] >> 8, 255, dtype=np.float32).tobytes() for image in deep}
    assert grey.images.shape == (30, 6, 5, 1)
    assert {image.tobytes() for image in grey.images} == expected
    write_images(tmp_path / "both" / "test", deep[:15], numbers(15))
    write_images(tmp_path / "both" / "test", pictures(15, (6, 5, 4)), numbers(15), ending="PNG")
    assert datasets.load(tmp_path / "both").test.images.shape == (30, 6, 5, 3)


@pytest.fixture
def flowers(tmp_path):
    """A set of TensorFlow Datasets with images of several sizes and the parts train and validation."""
    import tensorflow_datasets as tfds

    class LittleFlowers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        SIDES = (None, None)
        KEYS = ("image", "label")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(*self.SIDES, 3)),
                "label": tfds.features.ClassLabel(names=CLASSES),
                "name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=self.KEYS
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples(24), "validation": self._generate_examples(12)}

        def _generate_examples(self, count):
            for number in range(count):
                side = 8 if self.SIDES[0] else 8 + number
                yield number, {"image": pictures(1, (side, 8, 3), number)[0], "label": number % 3, "name": "a"}

    def make(name, **attributes):
        builder = type(name, (LittleFlowers,), attributes, skip_registration=True)(data_dir=tmp_path)
        builder.download_and_prepare()
        return tmp_path

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_set_of_tensorflow_datasets_is_known_by_its_name(flowers) -> None:
    data = datasets.load("flowers_a", data_dir=flowers("FlowersA"), size=6)
    assert data.name == "flowers_a" and data.classes == CLASSES
    assert sizes(data) == [22, 2, 12]
    assert data.train.images.shape[1:] == (6, 6, 3)
    same = datasets.load("flowers_b", data_dir=flowers("FlowersB", SIDES=(8, 8)))
    expected = {np.divide(pictures(1, (8, 8, 3), n)[0], 255, dtype=np.float32).tobytes() for n in range(12)}
    assert {image.tobytes() for image in same.test.images} == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_set_of_tensorflow_datasets_needs_a_size_for_its_sizes_and_images_with_classes(flowers) -> None:
    with pytest.raises(InputError, match="size: expected a size for the images of flowers_c, which have several"):
        datasets.load("flowers_c", data_dir=flowers("FlowersC"))
    folder = flowers("FlowersD", KEYS=("image", "name"))
    with pytest.raises(InputError, match="flowers_d: expected images with the number of a class .*image, label, name"):
        datasets.load("flowers_d", data_dir=folder, size=6)


def test_a_data_set_is_returned_as_it_is() -> None:
    data = datasets.from_arrays(pictures(30), numbers(30))
    assert datasets.load(data) is data


IMAGES, LABELS = pictures(30), numbers(30)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((IMAGES, LABELS[:9]), r"arrays, train: images: expected 9, one per label. Received: 30"),
        ((IMAGES.astype(int), LABELS), r"images: expected float images .* dtype int64.*/ 255"),
        ((IMAGES.astype("f4"), LABELS), r"images: expected float images .* Divide by 255"),
        ((IMAGES[:, 0, 0], LABELS), r"images: expected images of shape .* \(30, 3\)"),
        (([*IMAGES[:29], IMAGES[0, :3]], LABELS), r"images: expected images of one size"),
        ((IMAGES, LABELS / 2), r"arrays, train: labels: expected whole class numbers"),
        ((IMAGES, LABELS - 1), r"labels: .*negative"),
        ((IMAGES, 0 * LABELS), r"expected at least two classes"),
        ((IMAGES, LABELS + 1), r"every class number from 0 to 3 .* no image of 0. Number the classes from 0"),
        ((IMAGES[:0], LABELS[:0]), r"data set arrays: expected images with labels. Received: no images"),
        ((IMAGES, np.minimum(1, np.arange(30))), r"no \w+ image of class '0'.*at least five of a class"),
    ],
)
def test_arrays_that_make_no_data_set_say_why(arrays, message) -> None:
    with pytest.raises(InputError, match=message):
        datasets.from_arrays(*arrays)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES % 2, "test: images: expected bytes from 0 to 255. Received: none above 1. Bytes are divided by 255"),
        (IMAGES * 0, "test: images: expected bytes from 0 to 255. Received: none above 0"),
        (IMAGES * 0 + 200, "test: images: expected images. Received: 200 in every pixel"),
    ],
)
def test_bytes_that_are_no_images_are_refused(images, message) -> None:
    with pytest.raises(InputError, match=message):
        datasets.from_arrays(IMAGES, LABELS, test=(images, LABELS))


def test_bytes_that_are_almost_black_are_warned_of_at_the_call_of_the_user(tmp_path) -> None:
    dark = np.concatenate([pictures(40) % 9, pictures(40) % 17])
    message = r"train: images: the brightest pixel is 16 of 255: .* give floats in \[0, 1\]"
    with pytest.warns(datasets.DarkImagesWarning, match=message) as caught:
        datasets.from_arrays(dark, numbers(80))
    assert [warning.filename for warning in caught] == [__file__]
    write_images(tmp_path, dark.astype(np.uint16)[..., :1] << 8, numbers(80))
    with pytest.warns(datasets.DarkImagesWarning, match=message):
        datasets.load(tmp_path)
    assert not datasets.from_arrays(np.float32(dark / 16), numbers(80)).train.images.min()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"test": (IMAGES[:, :3], LABELS)}, r"images of one shape.*\(6, 5, 3\) in train, \(3, 5, 3\) in test"),
        ({"test": (IMAGES, np.minimum(LABELS, 1))}, r"no test image of class '2'"),
        ({"test": (IMAGES, np.where(LABELS == 2, 4, LABELS))}, r"no training image of class '4'"),
        ({"test": (IMAGES, np.arange(30) % 4)}, r"no training image of class '3'"),
        ({"classes": ("cat", "dog")}, r"labels below 2, the number of classes. Received: the label 2"),
        ({"validation_fraction": 1.0}, r"validation_fraction"),
    ],
)
def test_parts_that_do_not_fit_each_other_say_why(more, message) -> None:
    with pytest.raises(InputError, match=message):
        datasets.from_arrays(IMAGES, LABELS, **more)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": IMAGES}, r"expected the arrays images and labels; or .*Received: pixels"),
        ({"images": IMAGES, "labels": LABELS, "x_test": IMAGES}, r"expected y_test beside x_test"),
        (
            {"images": IMAGES, "labels": LABELS, "x_train": IMAGES, "y_train": LABELS},
            r"expected the train images once. Received: images and x_train. Leave one of the two out",
        ),
    ],
)
def test_an_npz_file_of_other_arrays_says_which_are_expected(tmp_path, arrays, message) -> None:
    np.savez(tmp_path / "pets.npz", **arrays)
    with pytest.raises(InputError, match=message):
        datasets.load(tmp_path / "pets.npz")


def empty(folder):
    pass


def empty_class(folder):
    write_images(folder, IMAGES, LABELS)
    (folder / "fox").mkdir()


def several_sizes(folder):
    write_images(folder, [*IMAGES[:29], IMAGES[0, :3]], LABELS)


def damaged(folder):
    write_images(folder, IMAGES, LABELS)
    (folder / "cat" / "broken.jpg").write_bytes(b"no image")


def class_without_test_images(folder):
    write_images(folder / "train", IMAGES, LABELS)
    write_images(folder / "test", IMAGES, np.minimum(LABELS, 1))


def class_beside_a_part(folder):
    write_images(folder, IMAGES, LABELS, names=("cat", "train", "ship"))


def lower_bits_only(folder):
    write_images(folder, IMAGES[..., :1].astype(np.uint16), LABELS)


def one_level_too_high(folder):
    write_images(folder / "nested", IMAGES, LABELS)


def parts_of_another_name(folder):
    write_images(folder / "Training", IMAGES, LABELS)
    write_images(folder / "Testing", IMAGES, LABELS)


def validation_images_twice(folder):
    for part in ("test", "val", "validation"):
        write_images(folder / part, IMAGES, LABELS)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (class_beside_a_part, r"folders of classes, or of the parts .*cat beside train. Rename a class"),
        (validation_images_twice, r"one folder of validation images. Received: val and validation. Join the two"),
        (one_level_too_high, r"the class 'nested' in the folder itself. .*, cat and 2 more. .*, give \S+nested, or"),
        (parts_of_another_name, r"images of the class 'Testing' .* call it train, validation or test"),
        (lower_bits_only, r"expected bytes from 0 to 255. Received: none above 0. .* of 16 bits only the upper eight"),
        (empty, r"expected a folder for each class, with its images"),
        (empty_class, r"fox: expected images of the class 'fox' \(.bmp"),
        (several_sizes, r"size: expected a size for images of several sizes. .*\(3, 5\) of .*png beside \(6, 5\)"),
        (damaged, r"broken.jpg: expected an image. .*Unknown image file format"),
        (class_without_test_images, r"no test image of class 'eel'"),
    ],
)
def test_a_folder_that_is_no_data_set_says_why(tmp_path, write, message) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=message):
        datasets.load(tmp_path)


def test_files_that_are_not_there_or_of_another_kind_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"pets.npz: expected a file or folder. Received: none of that name"):
        datasets.load(tmp_path / "pets.npz")
    (tmp_path / "pets.zip").write_text("x")
    with pytest.raises(InputError, match=r"pets.zip: expected an .npz file, or a folder of images by class"):
        datasets.load(tmp_path / "pets.zip")
    (tmp_path / "pets.npz").write_text("x")
    with pytest.raises(InputError, match=r"pets.npz: expected a NumPy .npz file"):
        datasets.load(tmp_path / "pets.npz")


WITHOUT_TENSORFLOW = """
import sys
import tracemalloc
from tf_laq import datasets, errors
for source in ("digits", "imagenet", "./pets"):
    try:
        datasets.check_source(source, data_dir="nowhere")
    except errors.InputError as error:
        print(error)
assert "tensorflow" not in sys.modules and "tensorflow_datasets" not in sys.modules
"""


def test_a_source_is_checked_before_tensorflow_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], capture_output=True, text=True, check=True)
    absent, path = done.stdout.splitlines()
    assert absent.startswith("data set imagenet: expected its prepared files in nowhere, or the path of")
    assert path == "data set ./pets: expected a file or folder. Received: none of that name."
