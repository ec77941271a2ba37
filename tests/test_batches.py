"""Images in every form in which Keras takes them: the results are those of the arrays."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq import policies
from tf_laq._internal.batches import first_inputs, images_alone, images_and_labels
from tf_laq._internal.validation import checked_labels
from tf_laq.attacks import Battery, get
from tf_laq.errors import InputError
from tf_laq.evaluation import accuracy_curve, evaluate, minimal_perturbations
from tf_laq.policies.data_driven.noise_sensitivity import noise_sensitivities
from tf_laq.training import correct_biases, recalibrate_batch_norm

COUNT, SIZE = 20, 8
IMAGES = np.random.default_rng(0).random((COUNT, 6, 6, 1)).astype(np.float32)
LABELS = np.arange(COUNT) % 3


def sequence_of(base):
    class Batches(base):
        """The images in order, the last batch a shorter one."""

        def __len__(self):
            return math.ceil(COUNT / SIZE)

        def __getitem__(self, index):
            rows = slice(index * SIZE, (index + 1) * SIZE)
            return IMAGES[rows], LABELS[rows]

    return Batches()


def generator():
    for start in range(0, COUNT, SIZE):
        yield IMAGES[start : start + SIZE], LABELS[start : start + SIZE]


class Loader:
    """Batches of tensors that can be gone through again and again, with neither a length nor places."""

    def __iter__(self):
        return ((tf.constant(images), tf.constant(labels)) for images, labels in generator())


def data_set(images=IMAGES, labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(SIZE)


FORMS = {
    "tf.data": data_set,
    "Sequence": lambda: sequence_of(tf_keras.utils.Sequence),
    "PyDataset": lambda: sequence_of(keras.utils.PyDataset),
    "generator": generator,
    "loader": Loader,
    "one-hot": lambda: data_set(labels=np.eye(3, dtype=np.float32)[LABELS]),
    "dict of one": lambda: data_set().map(lambda images, labels: ({"image": images}, labels)),
}


@pytest.fixture(scope="module", params=[2, 3], ids=["keras2", "keras3"])
def network(request):
    version = {2: tf_keras, 3: keras}[request.param]
    version.utils.set_random_seed(0)
    layers = version.layers
    return version.Sequential(
        [
            version.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("form", FORMS)
def test_batches_give_the_arrays_in_order(form: str) -> None:
    images, labels = images_and_labels(FORMS[form]())
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(checked_labels(labels, COUNT), LABELS)
    np.testing.assert_array_equal(images_alone(FORMS[form]()), IMAGES)


@pytest.mark.parametrize("form", FORMS)
def test_a_look_at_the_first_inputs_takes_nothing_away(form: str) -> None:
    first, data = first_inputs(FORMS[form]())
    assert np.shape(first["image"] if form == "dict of one" else first)[1:] == (6, 6, 1)
    np.testing.assert_array_equal(images_alone(data), IMAGES)


def test_batches_may_be_of_images_alone_where_no_labels_are_needed() -> None:
    np.testing.assert_array_equal(images_alone(tf.data.Dataset.from_tensor_slices(IMAGES).batch(7)), IMAGES)


@pytest.mark.parametrize("form", ["tf.data", "PyDataset", "one-hot"])
def test_evaluations_give_the_same_on_batches_and_on_arrays(network, form: str) -> None:
    models, battery = {"net": network}, Battery.preset("digits").only(["clean", "pgd"])
    found = [evaluate(models, *data, battery=battery) for data in ((IMAGES, LABELS), (FORMS[form](),))]
    assert found[0].to_csv() == found[1].to_csv()
    curves = [
        accuracy_curve(models, *data, attack=get("fgsm", epsilon=0.1), epsilons=[0.05, 0.1])
        for data in ((IMAGES, LABELS[:, None]), (FORMS[form](),))
    ]
    assert curves[0] == curves[1]
    nearest = [minimal_perturbations(models, *data, attack=get("ddn")) for data in ((IMAGES, LABELS), (FORMS[form](),))]
    assert nearest[0] == nearest[1]


@pytest.mark.parametrize("form", ["tf.data", "Sequence", "generator"])
def test_policies_and_corrections_give_the_same_on_batches_and_on_arrays(network, form: str) -> None:
    limit = policies.Limit(average_bits=4.0)
    plans = [
        laq.search(network, policy=policies.Hawq(*data, limit=limit, curvature="gradient"), progress=False)
        for data in ((IMAGES, LABELS), (FORMS[form](),))
    ]
    assert plans[0] == plans[1]
    attack = get("fgsm", epsilon=0.1)
    assert noise_sensitivities(network, IMAGES, LABELS, attack=attack) == noise_sensitivities(
        network, FORMS[form](), attack=attack
    )
    quantized = laq.bake(network, laq.uniform(network, "linear", 3))
    for correct in (recalibrate_batch_norm, lambda model, images: correct_biases(model, network, images)):
        by_arrays, by_batches = correct(quantized, IMAGES), correct(quantized, FORMS[form]())
        for first, second in zip(by_arrays.get_weights(), by_batches.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)


class Endless(keras.utils.PyDataset):
    """Batches without an end."""

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return IMAGES, LABELS


def used_up():
    batches = generator()
    list(batches)
    return batches


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (data_set(IMAGES.astype(np.uint8)), r"dtype uint8.*\.map\(lambda x, y: .* / 255"),
        ([(np.zeros((2, 6, 6, 1), np.int32), [0, 1])].__iter__(), "dtype int32"),
        (data_set().repeat(), r"an infinite .*repeat\(\)"),
        (Endless(), "an infinite Endless"),
        (data_set().unbatch(), r"one label an image.*\.batch\(128\)"),
        (data_set().map(lambda images, labels: {"image": images, "label": labels}), "batches that are a dict.*Pick"),
        (data_set().map(lambda images, labels: (images, labels, labels)), "batches of 3 parts"),
        (data_set().map(lambda images, labels: ((images, images), labels)), "the inputs 0, 1"),
        (data_set().take(0), "at least one batch"),
        (used_up(), "once: make a new one"),
        (iter([(IMAGES, LABELS), (IMAGES[:, :5], LABELS)]), r"one shape.*\(6, 6, 1\), \(5, 6, 1\)"),
    ],
)
def test_batches_that_cannot_be_used_are_refused_with_what_is_wrong(images, said: str) -> None:
    with pytest.raises(InputError, match=f"images: .*{said}"):
        images_and_labels(images)


def test_arrays_need_labels_and_batches_bring_their_own() -> None:
    with pytest.raises(InputError, match="labels: expected the labels"):
        evaluate({"m": lambda images: images[:, 0, :3, 0]}, IMAGES, battery=Battery.preset("digits"))
    with pytest.raises(InputError, match="labels: expected none beside"):
        images_and_labels(data_set(), LABELS)


@pytest.mark.parametrize("form", [LABELS[:, None], np.eye(3)[LABELS], np.eye(3, dtype=bool)[LABELS], LABELS.tolist()])
def test_labels_are_whole_numbers_or_one_hot_as_in_keras(form) -> None:
    found = checked_labels(form, COUNT)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, LABELS)
