from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tf_laq.attacks.pgd import PGD
from tf_laq.errors import InputError
from tf_laq.training import AdversarialModel


def logits_loss(**options):
    return tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def assert_equal_weights(first, second) -> None:
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_raises_robust_accuracy_far_above_that_of_a_plain_twin(
    digits, small_network, compiled, accuracy
) -> None:
    plain, robust = compiled(small_network(), tf_keras.optimizers.Adam(0.01)), small_network()
    adversarial = AdversarialModel(robust, PGD(epsilon=0.15, steps=3), warmup_steps=50)
    for model in (plain, compiled(adversarial, tf_keras.optimizers.Adam(0.01))):
        model.fit(digits.train.images, digits.train.labels, batch_size=64, epochs=12, verbose=0)
    assert accuracy(robust, digits.test) > 0.8
    assert accuracy(robust, digits.test, epsilon=0.15) > accuracy(plain, digits.test, epsilon=0.15) + 0.2


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("step", "epsilon"), [(0, 0.0), (5, 0.15), (10, 0.3), (400, 0.3)])
def test_examples_fill_the_ball_of_the_step_and_the_pixel_range(
    digits, small_network, norm: str, step: int, epsilon: float
) -> None:
    model = AdversarialModel(small_network(), PGD(epsilon=0.3, steps=4, norm=norm), warmup_steps=10)
    images = digits.test.images[:64]
    examples = model.perturb(images, digits.test.labels[:64], step).numpy()
    distance = np.abs(examples - images).reshape(64, -1)
    distance = distance.max(axis=1) if norm == "linf" else np.linalg.norm(distance, axis=1)
    assert np.all(distance <= epsilon + 1e-5) and distance.max() >= 0.9 * epsilon
    assert examples.min() >= 0.0 and examples.max() <= 1.0


def test_without_a_random_start_the_examples_are_those_of_the_pgd_attack(digits, small_network) -> None:
    network = small_network()
    attack = PGD(epsilon=0.2, steps=3, random_start=False)
    images, labels = digits.test.images[:50], digits.test.labels[:50]
    examples = AdversarialModel(network, attack).perturb(images, labels, 0)
    np.testing.assert_allclose(examples, attack(network, images, labels), atol=1e-6)


def test_every_form_of_the_labels_gives_the_same_examples(digits, small_network) -> None:
    model = AdversarialModel(small_network(), PGD(epsilon=0.2, steps=2))
    images, labels = digits.test.images[:20], digits.test.labels[:20]
    expected = model.perturb(images, labels, 3).numpy()
    for form in (labels[:, None], np.eye(10, dtype=np.float32)[labels], labels.astype(np.uint8)):
        np.testing.assert_array_equal(model.perturb(images, form, 3), expected)


def test_the_random_start_is_that_of_the_seed_and_the_step(digits, small_network) -> None:
    def examples(seed: int, step: int) -> np.ndarray:
        model = AdversarialModel(small_network(), PGD(epsilon=0.2, steps=1, step_size=0.01), seed=seed)
        return model.perturb(digits.test.images[:8], digits.test.labels[:8], step).numpy()

    assert np.array_equal(examples(1, 5), examples(1, 5))
    assert not np.array_equal(examples(1, 5), examples(1, 6))
    assert not np.array_equal(examples(1, 5), examples(2, 5))


def test_the_warm_up_is_linear_and_follows_the_optimizer(digits, small_network, compiled) -> None:
    class Recorder(AdversarialModel):
        """Returns the radius of each step in the logs."""

        def train_step(self, data):
            epsilon = self.epsilon_at(self.optimizer.iterations)
            return {**super().train_step(data), "epsilon": epsilon}

    model = compiled(Recorder(small_network(), PGD(epsilon=0.4, steps=1), warmup_steps=4))
    seen: list[float] = []
    record = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda _, logs: seen.append(logs["epsilon"]))
    model.fit(digits.train.images[:96], digits.train.labels[:96], batch_size=16, verbose=0, callbacks=[record])
    np.testing.assert_allclose(seen, [0.0, 0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)


def test_examples_of_zero_weight_do_not_move_the_weights(digits, small_network, compiled) -> None:
    images, labels = digits.train.images[:64], digits.train.labels[:64]
    weights = np.repeat([1.0, 0.0], 32).astype(np.float32)
    models = []
    for spoiled in (labels, np.where(weights > 0, labels, (labels + 1) % 10)):
        model = compiled(AdversarialModel(small_network(), PGD(epsilon=0.2, steps=2)), "sgd")
        model.fit(images, spoiled, sample_weight=weights, shuffle=False, batch_size=64, epochs=2, verbose=0)
        models.append(model)
    assert_equal_weights(*models)
    before = [w.copy() for w in models[0].get_weights()]
    models[0].fit(images, labels, sample_weight=0.0 * weights, batch_size=64, verbose=0)
    for a, b in zip(before, models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clean_fraction_one_is_ordinary_training(digits, small_network, compiled) -> None:
    plain = compiled(small_network())
    adversarial = compiled(AdversarialModel(small_network(), PGD(epsilon=0.3, steps=2), clean_fraction=1.0), "adam")
    for model in (plain, adversarial):
        model.fit(digits.train.images, digits.train.labels, shuffle=False, epochs=1, verbose=0)
    assert_equal_weights(plain, adversarial)


def test_losses_of_the_layers_are_counted_once(digits, small_network) -> None:
    activity = tf_keras.layers.ActivityRegularization(l2=0.5)
    model = AdversarialModel(small_network(activity), PGD(epsilon=0.0, steps=3, step_size=0.0))
    model.compile(optimizer=tf_keras.optimizers.SGD(0.0), loss=logits_loss())
    images, labels = digits.train.images[:32], digits.train.labels[:32]
    logits = model(images).numpy()
    cross_entropy = logits_loss()(labels, logits).numpy()
    logs = model.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], cross_entropy + 0.5 * np.sum(logits**2) / 32, rtol=1e-4)


def test_evaluation_reports_clean_accuracy_and_that_under_the_attack(digits, small_network, compiled, accuracy) -> None:
    network = small_network()
    model = compiled(AdversarialModel(network, PGD(epsilon=0.1, steps=20), robust_accuracy=True))
    logs = model.fit(digits.train.images, digits.train.labels, epochs=2, verbose=0).history
    assert set(logs) == {"loss", "accuracy"}
    scores = model.evaluate(digits.test.images, digits.test.labels, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(accuracy(network, digits.test))
    assert scores["robust_accuracy"] == pytest.approx(accuracy(network, digits.test, 0.1), abs=0.01)
    assert scores["robust_accuracy"] < scores["accuracy"]


class PowerCutError(Exception):
    """Ends a run in the middle."""


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_interrupted(
    digits, small_network, compiled, tmp_path
) -> None:
    def run(*callbacks) -> AdversarialModel:
        model = compiled(AdversarialModel(small_network(), PGD(epsilon=0.2, steps=2), warmup_steps=60))
        model.fit(
            digits.train.images,
            digits.train.labels,
            shuffle=False,
            batch_size=64,
            epochs=4,
            verbose=0,
            callbacks=list(callbacks),
        )
        return model

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            raise PowerCutError

    def backup():
        return tf_keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole = run()
    power_cut = tf_keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: interrupt(epoch))
    with pytest.raises(PowerCutError):
        run(backup(), power_cut)
    resumed = run(backup())
    assert resumed.optimizer.iterations.numpy() == whole.optimizer.iterations.numpy()
    assert_equal_weights(resumed, whole)


def test_a_checkpoint_of_the_whole_model_gives_it_back(digits, small_network, compiled, tmp_path) -> None:
    model = compiled(AdversarialModel(small_network(), PGD(epsilon=0.2, steps=2), warmup_steps=7, seed=3))
    checkpoint = tf_keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    model.fit(digits.train.images, digits.train.labels, verbose=0, callbacks=[checkpoint])
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    assert_equal_weights(loaded, model)
    assert loaded.get_config()["attack"] == model.get_config()["attack"]
    assert (loaded.warmup_steps, loaded.seed) == (7, 3)
    images, labels = digits.test.images[:16], digits.test.labels[:16]
    assert np.array_equal(loaded.perturb(images, labels, 2), model.perturb(images, labels, 2))
    loaded.fit(digits.train.images, digits.train.labels, verbose=0)


def test_tensorboard_writes_the_adversarial_metrics(digits, small_network, compiled, tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    model = compiled(AdversarialModel(small_network(), PGD(epsilon=0.2, steps=1), robust_accuracy=True))
    split = digits.validation
    board = tf_keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    data = (split.images, split.labels)
    model.fit(*data, validation_data=data, epochs=2, verbose=0, callbacks=[board])
    (events,) = (tmp_path / "validation").glob("events.out.tfevents.*")
    tags = [
        value.tag
        for record in tf.data.TFRecordDataset(str(events))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    ]
    assert tags.count("epoch_robust_accuracy") == 2


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(lambda: tf.distribute.MirroredStrategy(["/cpu:0"]), id="mirrored"),
        pytest.param(lambda: tf.distribute.OneDeviceStrategy("/cpu:0"), id="one_device"),
    ],
)
def test_a_distribution_strategy_of_one_device_changes_nothing(digits, small_network, compiled, strategy) -> None:
    def run() -> AdversarialModel:
        model = AdversarialModel(small_network(), PGD(epsilon=0.2, steps=2), robust_accuracy=True)
        compiled(model, tf_keras.optimizers.SGD(0.1))
        model.fit(digits.train.images, digits.train.labels, shuffle=False, verbose=0)
        model.evaluate(digits.validation.images, digits.validation.labels, verbose=0)
        return model

    with strategy().scope():
        distributed = run()
    for a, b in zip(distributed.get_weights(), run().get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_mixed_precision_trains_float32_weights(digits, compiled) -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        network = tf_keras.Sequential(
            [
                tf_keras.Input((8, 8, 1)),
                tf_keras.layers.Conv2D(4, 3, activation="relu"),
                tf_keras.layers.Flatten(),
                tf_keras.layers.Dense(10),
            ]
        )
        model = compiled(AdversarialModel(network, PGD(epsilon=0.1, steps=2), warmup_steps=5))
        history = model.fit(digits.train.images, digits.train.labels, epochs=3, verbose=0).history
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert all(weight.dtype == tf.float32 for weight in network.trainable_weights)
    assert history["loss"][-1] < history["loss"][0]


def test_images_of_bytes_are_refused(digits, small_network, compiled) -> None:
    model = compiled(AdversarialModel(small_network(), PGD(epsilon=0.1, steps=1)))
    with pytest.raises(InputError, match="x: expected images.*from 0 to 255.*Divide images"):
        model.fit(digits.train.images * 255, digits.train.labels, verbose=0)
    data = (digits.train.images * 255, digits.train.labels)
    with pytest.raises(InputError, match="validation_data: expected images"):
        model.fit(digits.train.images, digits.train.labels, validation_data=data, verbose=0)
    with pytest.raises(InputError, match="x: expected images"):
        model.train_on_batch(*data)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Divide images"):
        model.fit(tf.data.Dataset.from_tensor_slices(data).batch(32), verbose=0)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", tf_keras.losses.CategoricalCrossentropy()])
def test_a_loss_of_probabilities_is_refused(small_network, loss) -> None:
    with pytest.raises(InputError, match="from_logits=True"):
        AdversarialModel(small_network(), PGD(epsilon=0.1)).compile(loss=loss)


def test_a_network_with_a_softmax_is_refused_by_the_name_of_its_layer(small_network) -> None:
    with pytest.raises(InputError, match="'last'"):
        AdversarialModel(small_network(tf_keras.layers.Softmax(name="last")))
    with pytest.raises(InputError, match="'probabilities'"):
        AdversarialModel(small_network(tf_keras.layers.Dense(10, activation="softmax", name="probabilities")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attack": PGD(epsilon=0.1, restarts=2)}, "attack: expected a PGD"),
        ({"attack": "pgd"}, "attack: expected a PGD"),
        ({"validation_attack": PGD(epsilon=0.1, restarts=2)}, "validation_attack: expected a PGD"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"clean_fraction": 1.5}, "clean_fraction"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(small_network, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        AdversarialModel(small_network(), **options)


def test_the_model_is_of_the_keras_of_the_network_and_trains_the_same_there() -> None:
    import keras

    twin = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    plain = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(10)])
    twin.set_weights(plain.get_weights())
    images = np.random.default_rng(0).random((32, 8, 8, 1)).astype(np.float32)
    labels = np.arange(32) % 10
    for version, network in ((tf_keras, plain), (keras, twin)):
        model = AdversarialModel(network, PGD(epsilon=0.1, steps=2), robust_accuracy=True)
        assert isinstance(model, AdversarialModel) and isinstance(model, version.Model)
        loss = version.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(version.optimizers.SGD(0.5), loss)
        model.fit(images, labels, epochs=2, shuffle=False, verbose=0)
        assert set(model.evaluate(images, labels, verbose=0, return_dict=True)) == {"loss", "robust_accuracy"}
    for ours, theirs in zip(plain.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
def test_validation_can_be_under_another_attack_than_training(digits, small_network, compiled, tmp_path) -> None:
    def robust_accuracy(validation_attack):
        network = small_network()
        model = AdversarialModel(
            network, PGD(epsilon=0.0, steps=1), robust_accuracy=True, validation_attack=validation_attack
        )
        compiled(model).fit(digits.train.images, digits.train.labels, epochs=20, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = tf_keras.models.load_model(tmp_path / "model.keras")
        assert loaded.validation_attack == model.validation_attack
        return model.evaluate(digits.test.images, digits.test.labels, verbose=0, return_dict=True)

    weak = robust_accuracy(None)
    assert weak["robust_accuracy"] == pytest.approx(weak["accuracy"])
    strong = robust_accuracy(PGD(epsilon=0.2, steps=3))
    assert strong["robust_accuracy"] < strong["accuracy"] - 0.3


def test_what_is_no_keras_model_is_refused() -> None:
    with pytest.raises(InputError, match="tf_keras or Keras 3 model"):
        AdversarialModel(lambda images: images)
