"""Adversarial training as a Keras model: compile and fit it like any other.

Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", Eq. (2.1).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from tf_laq._internal.batches import first_inputs, only_input
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import real, whole
from tf_laq.adapters import keras_module, keras_version
from tf_laq.adapters.copying import probe
from tf_laq.adapters.heads import class_logits, only_output
from tf_laq.adapters.once import quantized_once
from tf_laq.attacks.base import Logits, by_example
from tf_laq.attacks.cleverhans import gradient_step, project
from tf_laq.attacks.pgd import PGD
from tf_laq.errors import InputError
from tf_laq.training.overfitting import ROBUST_ACCURACY, OverfittingWatch
from tf_laq.training.requirements import assert_range, check_loss, check_network, check_outputs, check_range

# A model of either Keras: `adversarial_class` puts the real class in its place.
if TYPE_CHECKING:
    _Model = Any
else:
    _Model = object

_VALIDATION_STEPS = 10
_LOOKED_AT = 2


class AdversarialModel(_Model):  # type: ignore[misc]
    """A Keras model that trains on PGD examples made against its weights of the moment.

    min over weights of E[max over ||d|| <= epsilon of loss(f(x + d), y)]: each training step makes x + d with
    the attack, then takes Keras's ordinary step on it, so the compiled loss, metrics, sample weights,
    optimizer, regularisation losses, mixed precision, callbacks and distribution strategies work as always.
    The attack sees the network in inference mode. The wrapped model is the same object as before and is what
    to save, quantize and evaluate. The object is a `tf_keras.Model` or a `keras.Model`, as the wrapped one is.

    The random numbers are keyed by `seed` and the optimizer's step, so a run that BackupAndRestore resumes
    continues with the examples it would have made.

    Args:
        model: A Keras model from images in [0, 1] (n, height, width, channels) to logits (n, classes), or to one logit
            (n, 1) for two classes. It may be Sequential, functional or subclassed, built or not; one input or output
            in a dict or list is taken.
        attack: The PGD to train on; one restart. Default: epsilon 0.3 in 7 steps.
        warmup_steps: Optimizer steps over which epsilon and the step size rise linearly from 0 to those of
            the attack. On MNIST at 0.3, training does not get off the ground without.
        clean_fraction: The share of examples that stay clean, in [0, 1], drawn anew in each step.
        robust_accuracy: Let `evaluate` and validation report "robust_accuracy", the accuracy under
            `validation_attack`.
        validation_attack: A PGD with one restart; default: `attack` in at least ten steps, since a network can learn to
            withstand just the one or two steps that it is trained on (catastrophic overfitting).
        examples_from: A function from images to logits that the training examples are made on, where the model's own
            gradient is blinded (see `fine_tune`); None for the model. It is not saved with the model.
        seed: Seed of the random starts.
        **options: `name` and `dtype`, as for any Keras model.

    Raises:
        InputError: The model is not a Keras model, has several inputs, ends in a softmax or overrides Keras's training
            step; the attack is not a PGD with one restart; or a number is out of range.

    Example:
        >>> import tf_keras
        >>> network = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), \
tf_keras.layers.Dense(10)])
        >>> adversarial = AdversarialModel(network, PGD(epsilon=0.1, steps=3), warmup_steps=100)
        >>> adversarial.epsilon_at(25).numpy().item()
        0.02500000037252903
    """

    _keras: ClassVar[Any]

    def __new__(cls, model: Any, *args: Any, **options: Any) -> Any:
        """Make an object of this class that is a model of the network's version of Keras too."""
        made = cls if hasattr(cls, "_keras") else adversarial_class(keras_version(model), cls)  # type: ignore[arg-type]
        return super(AdversarialModel, made).__new__(made, model, *args, **options)  # type: ignore[misc]

    @typed
    def __init__(
        self,
        model: Any,
        attack: PGD | None = None,
        *,
        warmup_steps: int = 0,
        clean_fraction: float = 0.0,
        robust_accuracy: bool = False,
        validation_attack: PGD | None = None,
        examples_from: Logits | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        # Keras 2 would add up the logs of all workers, each of which is that of all already.
        self.distribute_reduction_method = "first"
        attack = PGD(epsilon=0.3, steps=7) if attack is None else attack
        check_network(self._keras, model)
        _check_attack("attack", attack)
        if validation_attack is None:
            steps = max(attack.steps, _VALIDATION_STEPS)
            validation_attack = dataclasses.replace(attack, steps=steps, step_size=None)
        _check_attack("validation_attack", validation_attack)
        whole("warmup_steps", warmup_steps, minimum=0)
        real("clean_fraction", clean_fraction, maximum=1.0)
        whole("seed", seed, minimum=0)
        self.model = model
        self.attack = attack
        self.validation_attack = validation_attack
        self.warmup_steps = warmup_steps
        self.clean_fraction = clean_fraction
        self.seed = seed
        self._robust_accuracy = self._keras.metrics.Mean(ROBUST_ACCURACY) if robust_accuracy else None
        # Puts the image into the dict or list that the network takes it in, as soon as that is known.
        self._packed: Any = lambda images: images
        self._outputs_checked = False
        # CleverHans keeps one graph per callable, so it must be one object for the life of the model.
        self._logits: Any = lambda images: class_logits(only_output(model(self._packed(images), training=False)))
        self._examples_from: Any = self._logits if examples_from is None else examples_from
        inputs = probe(model) if model.built else None
        if inputs is not None:
            self._only_input(inputs)
            self.build(tf.nest.map_structure(lambda values: (None, *values.shape[1:]), inputs))

    def call(self, images: Any, training: Any = None) -> Any:
        """Return what the wrapped model returns for images, bare or in the dict or list that it takes them in."""
        return self.model(self._packed(images) if tf.is_tensor(images) else images, training=training)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **options: Any) -> None:
        """Set the optimizer, loss and metrics as for any Keras model; a cross-entropy must take logits.

        Raises:
            InputError: The loss is one of probabilities.
        """
        check_loss(self._keras, loss)
        # Keras 3 would compile the step with XLA, which on processors makes the attack several times slower.
        settings = {"jit_compile": False, **options} if self._keras.__name__ == "keras" else options
        super().compile(optimizer=optimizer, loss=loss, **settings)

    def fit(self, *args: Any, **options: Any) -> Any:
        """Train as any Keras model does; arguments and result are those of its `fit`.

        Raises:
            InputError: Images in arrays are outside [0, 1], or the network's outputs are not logits.

        Warns:
            CatastrophicOverfittingWarning: The network withstands the training's own examples, but not those of
                `validation_attack` on the validation images; known where `robust_accuracy` was asked for.
        """
        given = inspect.signature(super().fit).bind(*args, **options).arguments
        check_range("x", given.get("x"))
        validation = given.get("validation_data")
        check_range("validation_data", validation[0] if isinstance(validation, (tuple, list)) else None)
        given["x"] = self._prepared(given.get("x"))
        callbacks = given.get("callbacks")
        watch = OverfittingWatch(lambda: int(self.optimizer.iterations) >= self.warmup_steps)
        look = self._keras.callbacks.LambdaCallback(on_epoch_end=watch.look)
        if isinstance(callbacks, self._keras.callbacks.CallbackList):
            callbacks.append(look)
        else:
            callbacks = [look, *tf.nest.flatten(callbacks or [])]
        return super().fit(**{**given, "callbacks": callbacks})

    def train_on_batch(self, *args: Any, **options: Any) -> Any:
        """Take one training step as any Keras model does; arguments and result are those of its `train_on_batch`.

        Raises:
            InputError: As for `fit`.
        """
        given = inspect.signature(super().train_on_batch).bind(*args, **options).arguments
        check_range("x", given["x"])
        self._prepared(given["x"])
        return super().train_on_batch(**given)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was; Keras asks for this where `compile` is overridden."""
        self.compile(**self._keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def epsilon_at(self, step: int | tf.Tensor) -> tf.Tensor:
        """Return the radius of optimizer step `step`, from 0: epsilon * min(1, step / warmup_steps)."""
        if self.warmup_steps == 0:
            return tf.constant(self.attack.epsilon, tf.float32)
        share = tf.cast(step, tf.float32) / float(self.warmup_steps)
        return self.attack.epsilon * tf.minimum(share, 1.0)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
        """Return the examples of optimizer step `step`, before `clean_fraction` puts clean ones back.

        Args:
            images: Images in [0, 1] (n, height, width, channels).
            labels: True classes, as whole numbers (n,) or (n, 1), or one-hot (n, classes).
            step: Optimizer step from 0: it sets epsilon and the random start.

        Returns:
            float32 images in [0, 1], at most `epsilon_at(step)` from `images`.
        """
        seed = self._random_seed(step, 0)
        return _perturb(self._examples_from, images, labels, self.attack, self.epsilon_at(step), seed)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Make adversarial examples of the batch and take an ordinary training step on them."""
        images, labels, weights = self._keras.utils.unpack_x_y_sample_weight(data)
        images = self._only_input(images)
        assert_range(images)
        step = self.optimizer.iterations
        with quantized_once(self.model):
            examples = self.perturb(images, labels, step)
            if self.clean_fraction > 0.0:
                drawn = tf.random.stateless_uniform([tf.shape(images)[0]], self._random_seed(step, 1))
                clean = by_example(drawn, images) < self.clean_fraction
                examples = tf.where(clean, tf.cast(images, tf.float32), examples)
            logs = super().train_step((examples, labels, weights))
        return {name: value for name, value in logs.items() if name != ROBUST_ACCURACY}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluate the batch clean and, if `robust_accuracy` was asked for, under the attack."""
        images, labels, weights = self._keras.utils.unpack_x_y_sample_weight(data)
        images = self._only_input(images)
        with quantized_once(self.model):
            if self._robust_accuracy is not None:
                attack, seed = self.validation_attack, self._random_seed(self.warmup_steps, 0)
                epsilon = tf.constant(attack.epsilon, tf.float32)
                examples = _perturb(self._logits, images, labels, attack, epsilon, seed)
                predicted = tf.argmax(self._logits(examples), axis=-1)
                right = tf.cast(tf.equal(predicted, _class_numbers(labels)), tf.float32)
                self._robust_accuracy.update_state(right, None if weights is None else tf.reshape(weights, [-1]))
            logs: dict[str, Any] = super().test_step(data)
        return logs

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialised."""
        return {
            "name": self.name,
            "model": self._keras.saving.serialize_keras_object(self.model),
            "attack": self.attack.to_dict(),
            "validation_attack": self.validation_attack.to_dict(),
            "warmup_steps": self.warmup_steps,
            "clean_fraction": self.clean_fraction,
            "robust_accuracy": self._robust_accuracy is not None,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> AdversarialModel:
        """Build the model from what `get_config` returned."""
        model = cls._keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        attacks = {name: _attack_of(config[name]) for name in ("attack", "validation_attack")}
        return cls(**{**config, "model": model, **attacks})

    def _only_input(self, images: Any) -> Any:
        """Return the one image tensor of inputs, and note what the network takes it in."""
        image = only_input(images)
        if image is not images:
            structure = tf.nest.map_structure(lambda _: None, images)
            self._packed = lambda bare: tf.nest.pack_sequence_as(structure, [bare])
        return image

    def _prepared(self, images: Any) -> Any:
        """Build the network and refuse outputs that are not logits, once; return the images with all batches."""
        if self._outputs_checked:
            return images
        inputs = probe(self.model)
        if inputs is None:
            inputs, images = first_inputs(images)
            inputs = tf.nest.map_structure(lambda values: tf.convert_to_tensor(values[:_LOOKED_AT]), inputs)
        self._only_input(inputs)
        # The attack runs in a graph of its own, in which no variables can be made.
        with self.distribute_strategy.scope():
            check_outputs(self.model, inputs)
        self._outputs_checked = True
        return images

    def _random_seed(self, step: int | tf.Tensor, stream: int) -> tf.Tensor:
        """Return a seed for stateless random numbers that no other step, replica or stream has."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        seed = tf.constant([self.seed, stream], tf.int64)
        seed = tf.random.fold_in(seed, tf.cast(step, tf.int64))
        return tf.random.fold_in(seed, tf.cast(replica, tf.int64))


@functools.cache
def adversarial_class(version: int, cls: type[Any] = AdversarialModel) -> type[Any]:
    """Return `AdversarialModel`, or a class made from it, as a class of models of Keras 2 or 3."""
    keras = keras_module(version)
    made: type[Any] = type(cls.__name__, (cls, keras.Model), {"_keras": keras, "__module__": cls.__module__})
    if cls is AdversarialModel:
        keras.utils.register_keras_serializable(package="tf_laq")(made)
    return made


def _perturb(logits: Logits, images: Any, labels: Any, attack: PGD, epsilon: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return the images of one ascent with `attack`, its ball of radius `epsilon`."""
    images = tf.cast(images, tf.float32)
    labels = _class_numbers(labels)
    step_size = attack.step / max(attack.epsilon, 1e-12) * epsilon
    if not tf.executing_eagerly():
        # What CleverHans keeps for a callable has the quantized weights of this graph in it.
        logits = functools.partial(logits)
    current = images
    if attack.random_start:
        start = _uniform_in_ball(tf.shape(images), epsilon, attack.norm, seed)
        current = project(images + start, images, epsilon, attack.norm)
    for _ in range(attack.steps):
        moved = gradient_step(logits, current, labels, step_size, attack.norm)
        current = project(moved, images, epsilon, attack.norm)
    return tf.stop_gradient(current)


def _attack_of(config: dict[str, Any]) -> PGD:
    return PGD(**{name: value for name, value in config.items() if name != "name"})


def _check_attack(argument: str, attack: Any) -> None:
    if not isinstance(attack, PGD) or attack.restarts != 1:
        raise InputError(argument, expected="a PGD attack with one restart", received=repr(attack))


def _class_numbers(labels: tf.Tensor) -> tf.Tensor:
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2 and labels.shape[-1] != 1:
        return tf.argmax(labels, axis=-1)
    return tf.cast(tf.reshape(labels, [-1]), tf.int64)


def _uniform_in_ball(shape: tf.Tensor, epsilon: tf.Tensor, norm: str, seed: tf.Tensor) -> tf.Tensor:
    """Draw uniformly from the ball of radius `epsilon`, as `attacks.randomness.uniform_in_ball` does."""
    if norm == "linf":
        return epsilon * tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
    direction = tf.random.stateless_normal(shape, seed)
    length = by_example(tf.random.stateless_uniform(shape[:1], tf.random.fold_in(seed, 1)), direction)
    dimensions = tf.cast(tf.reduce_prod(shape[1:]), tf.float32)
    norms = tf.sqrt(tf.reduce_sum(direction**2, axis=list(range(1, len(direction.shape))), keepdims=True))
    return epsilon * length ** (1.0 / dimensions) * direction / norms


# Models that were saved with it load once this module is imported, in whichever Keras the program uses.
for _version, _module in ((2, "tf_keras"), (3, "keras")):
    if _module in sys.modules:
        adversarial_class(_version)
