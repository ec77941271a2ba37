"""Networks, losses and images of all kinds: trained rightly in both versions of Keras, or refused with the cure."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tf_laq.attacks.pgd import PGD
from tf_laq.errors import InputError
from tf_laq.training import AdversarialModel

COUNT = 32
IMAGES = np.random.default_rng(0).random((COUNT, 6, 6, 1)).astype(np.float32)
LABELS = np.arange(COUNT) % 3
ATTACK = PGD(epsilon=0.1, steps=2)


@pytest.fixture(params=[tf_keras, keras], ids=["keras2", "keras3"])
def version(request):
    request.param.utils.set_random_seed(0)
    return request.param


def subclassed(version, activation=None, units=3):
    class Net(version.Model):
        """Flatten and one dense layer."""

        def __init__(self):
            super().__init__()
            self.flatten = version.layers.Flatten()
            self.dense = version.layers.Dense(units)

        def call(self, x, training=None):
            outputs = self.dense(self.flatten(x))
            return outputs if activation is None else activation(outputs)

    return Net()


def sequential(version, *last):
    layers = last or [version.layers.Dense(3)]
    return version.Sequential([version.Input((6, 6, 1)), version.layers.Flatten(), *layers])


def crossentropy(version):
    return version.losses.SparseCategoricalCrossentropy(from_logits=True)


def fitted(version, network, *data, loss=None, **options):
    model = AdversarialModel(network, ATTACK, **options)
    model.compile(version.optimizers.SGD(0.1), loss or crossentropy(version))
    # Keras 3 warns where a generator ends, unless it was told how many batches there are.
    steps = {"steps_per_epoch": 4} if data and hasattr(data[0], "__next__") else {"epochs": 2}
    model.fit(*(data or (IMAGES, LABELS)), shuffle=False, verbose=0, **steps)
    return model


def called(network):
    network(IMAGES[:1])
    return network


def built(network):
    network((tf_keras if isinstance(network, tf_keras.Model) else keras).Input((6, 6, 1)))
    return network


def trained(network):
    network.compile("sgd", "mse")
    network.fit(IMAGES, np.zeros((COUNT, 3), np.float32), verbose=0)
    return network


@pytest.mark.parametrize("before", [called, built, trained])
def test_a_subclassed_network_trains_as_its_sequential_twin_whatever_was_done_to_it_before(version, before) -> None:
    network, twin = before(subclassed(version)), sequential(version)
    network.set_weights(twin.get_weights())
    for each in (network, twin):
        fitted(version, each, robust_accuracy=True)
    for first, second in zip(network.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_subclassed_network_that_was_never_called_is_built_by_its_first_batch(version) -> None:
    model = fitted(version, subclassed(version), robust_accuracy=True)
    assert len(model.model.get_weights()) == 2
    cached = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8).cache()
    for batches in (cached, ((IMAGES[:8], LABELS[:8]) for _ in range(4))):
        fitted(version, subclassed(version), batches)
    assert "robust_accuracy" in model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)


def with_own(version, method):
    def own(self, *args, **options):
        raise AssertionError("never called")

    return type("Own", (version.Sequential,), {method: own})([version.Input((6, 6, 1)), version.layers.Flatten()])


@pytest.mark.parametrize("method", ["train_step", "compute_loss"])
def test_a_network_with_a_training_step_of_its_own_is_refused_by_its_name(version, method: str) -> None:
    with pytest.raises(InputError, match=rf"model: .*Own .*whose own {method} would not be called.*keras.Sequential"):
        AdversarialModel(with_own(version, method), ATTACK)


def test_the_cure_for_a_training_step_of_its_own_works(version) -> None:
    class Own(version.Model):
        """A training step that must not be called."""

        def __init__(self):
            super().__init__()
            self.dense = version.layers.Dense(3)

        def call(self, x):
            return self.dense(tf.reshape(x, [-1, 36]) if version is tf_keras else keras.ops.reshape(x, (-1, 36)))

        def train_step(self, data):
            raise AssertionError("never called")

    fitted(version, version.Sequential([version.Input((6, 6, 1)), Own()]))


ENDS = {
    "nested": lambda v: sequential(v, v.Sequential([v.layers.Dense(3, activation="softmax")])),
    "function": lambda v: sequential(v, v.layers.Dense(3, activation=tf.nn.softmax)),
    "lambda": lambda v: sequential(v, v.layers.Dense(3), v.layers.Lambda(tf.nn.softmax)),
    "subclassed": lambda v: subclassed(v, tf.nn.softmax),
    "then reshaped": lambda v: sequential(v, v.layers.Dense(3, activation=tf.nn.softmax), v.layers.Reshape((3,))),
    "sigmoids": lambda v: sequential(v, v.layers.Dense(3, activation="sigmoid")),
    "one sigmoid": lambda v: sequential(v, v.layers.Dense(1, activation="sigmoid")),
}


@pytest.mark.parametrize("end", ENDS)
def test_outputs_that_are_no_logits_are_found_by_their_values_before_training(version, end: str) -> None:
    network = ENDS[end](version)
    kind = "sigmoid" if "sigmoid" in end else "softmax"
    before = [] if end == "subclassed" else [weight.copy() for weight in network.get_weights()]
    with pytest.raises(InputError, match=rf"model: .*outputs of a {kind}.*Leave the {kind} out.*from_logits=True"):
        fitted(version, network)
    for first, second in zip(before, network.get_weights(), strict=bool(before)):
        np.testing.assert_array_equal(first, second)


def test_they_are_found_in_single_batches_and_in_batches_from_a_generator_too(version) -> None:
    model = AdversarialModel(called(subclassed(version, tf.nn.softmax)), ATTACK)
    model.compile("sgd", crossentropy(version))
    with pytest.raises(InputError, match="outputs of a softmax"):
        model.train_on_batch(IMAGES, LABELS)
    batches = ((IMAGES[:8], LABELS[:8]) for _ in range(4))
    with pytest.raises(InputError, match="outputs of a softmax"):
        fitted(version, subclassed(version, tf.nn.softmax), batches)


def test_logits_of_a_new_network_are_not_taken_for_probabilities(version) -> None:
    binary = version.losses.BinaryCrossentropy(from_logits=True)
    ones = version.layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")
    zeros = version.layers.Dense(3, kernel_initializer="zeros")
    small = version.layers.Dense(1, kernel_initializer=version.initializers.Constant(0.01))
    fitted(version, sequential(version, zeros))
    for head in (ones, small):
        fitted(version, sequential(version, head), IMAGES, LABELS % 2, loss=binary)


@pytest.mark.parametrize(
    "loss",
    [
        lambda v: v.losses.sparse_categorical_crossentropy,
        lambda v: v.losses.binary_crossentropy,
        lambda v: functools.partial(v.losses.categorical_crossentropy, from_logits=False),
        lambda v: "binary_crossentropy",
        lambda v: "bce",
        lambda v: "CategoricalCrossentropy",
        lambda v: "kl_divergence",
        lambda v: v.losses.KLDivergence(),
        lambda v: v.losses.BinaryCrossentropy(),
        lambda v: [v.losses.SparseCategoricalCrossentropy()],
    ],
)
def test_a_loss_of_probabilities_is_refused_in_every_form(version, loss) -> None:
    with pytest.raises(InputError, match="loss: expected a loss of logits.*from_logits=True"):
        AdversarialModel(sequential(version), ATTACK).compile(loss=loss(version))


@pytest.mark.parametrize(
    "loss",
    [
        crossentropy,
        lambda v: functools.partial(v.losses.sparse_categorical_crossentropy, from_logits=True),
        lambda v: lambda labels, logits: v.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True),
    ],
)
def test_a_loss_of_logits_is_taken_in_every_form(version, loss) -> None:
    fitted(version, sequential(version), loss=loss(version))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None], lambda y: y[:, None].astype(np.float32)])
def test_one_logit_is_attacked_as_the_second_of_two_classes(version, form, norm: str) -> None:
    one, two = (sequential(version, version.layers.Dense(units)) for units in (1, 2))
    kernel, bias = one.get_weights()
    two.set_weights([np.concatenate([0 * kernel, kernel], 1), np.concatenate([0 * bias, bias])])
    attack = PGD(epsilon=0.1, steps=2, norm=norm)
    for labels in (LABELS % 2, np.zeros(COUNT, np.int64)):
        found = AdversarialModel(one, attack).perturb(IMAGES, form(labels), 0)
        np.testing.assert_allclose(found, AdversarialModel(two, attack).perturb(IMAGES, labels, 0), atol=1e-6)
        assert np.abs(found - IMAGES).reshape(COUNT, -1).max(axis=1).min() > 0.01


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None]])
def test_a_network_of_one_logit_learns_to_withstand_the_attack(version, form) -> None:
    labels = (IMAGES[:, :3].mean(axis=(1, 2, 3)) > IMAGES[:, 3:].mean(axis=(1, 2, 3))).astype(np.int64)
    model = AdversarialModel(
        sequential(version, version.layers.Dense(1)), PGD(epsilon=0.01, steps=2), robust_accuracy=True
    )
    model.compile(version.optimizers.Adam(0.02), version.losses.BinaryCrossentropy(from_logits=True))
    model.fit(IMAGES, form(labels), epochs=60, verbose=0)
    scores = model.evaluate(IMAGES, form(labels), verbose=0, return_dict=True)
    right = (np.asarray(model.model(IMAGES))[:, 0] > 0) == labels
    assert right.mean() - 0.2 <= scores["robust_accuracy"] <= right.mean()
    assert scores["robust_accuracy"] > 0.7


def of_dict(version, names):
    inputs = {name: version.Input((6, 6, 1), name=name) for name in names}
    joined = version.layers.Flatten()(inputs[names[0]])
    for name in names[1:]:
        joined = version.layers.Add()([joined, version.layers.Flatten()(inputs[name])])
    return version.Model(inputs, version.layers.Dense(3)(joined))


@pytest.mark.parametrize("of_tensors", [False, True])
def test_the_one_image_of_a_dict_is_trained_on(version, of_tensors: bool) -> None:
    bare, named = sequential(version), of_dict(version, ["image"])
    named.set_weights(bare.get_weights())
    given = ({"image": IMAGES}, LABELS)
    data = [tf.data.Dataset.from_tensor_slices(given).batch(32)] if of_tensors else given
    fitted(version, bare, robust_accuracy=True)
    model = fitted(version, named, *data, robust_accuracy=True)
    for first, second in zip(bare.get_weights(), named.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
    assert "robust_accuracy" in model.evaluate(*data, verbose=0, return_dict=True)


def test_a_subclassed_network_of_a_dict_is_trained_too(version) -> None:
    class Net(version.Model):
        """Takes the image out of its dict."""

        def __init__(self):
            super().__init__()
            self.flatten, self.dense = version.layers.Flatten(), version.layers.Dense(3)

        def call(self, inputs):
            return self.dense(self.flatten(inputs["image"]))

    fitted(version, Net(), {"image": IMAGES}, LABELS)
    network = Net()
    network({"image": IMAGES[:1]})
    fitted(version, network, {"image": IMAGES}, LABELS, robust_accuracy=True)


def test_several_inputs_are_refused_by_their_names(version) -> None:
    with pytest.raises(InputError, match="images: expected one input.*'image', 'mask'"):
        AdversarialModel(of_dict(version, ["image", "mask"]), ATTACK)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_signals_and_tables_are_trained_on_as_images_are(version, norm: str) -> None:
    for shape in ((36, 1), (36,)):
        network = version.Sequential([version.Input(shape), version.layers.Flatten(), version.layers.Dense(3)])
        model = AdversarialModel(network, PGD(epsilon=0.1, steps=2, norm=norm), clean_fraction=0.5)
        model.compile("sgd", crossentropy(version))
        model.fit(IMAGES.reshape(COUNT, *shape), LABELS, verbose=0)
