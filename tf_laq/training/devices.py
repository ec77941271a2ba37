"""Training on several devices and machines, by the strategies of `tf.distribute`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from tf_laq.adapters import keras_version
from tf_laq.errors import InputError

BatchesOf = Callable[[tf.distribute.InputContext], tf.data.Dataset]
"""Makes the batches of one process: for each step one for each of its replicas, one after the other."""

_WORKERS = tf.distribute.MultiWorkerMirroredStrategy
_STRATEGIES = ("MirroredStrategy", "OneDeviceStrategy", "MultiWorkerMirroredStrategy")


def scope_of(strategy: tf.distribute.Strategy | None, model: Any) -> AbstractContextManager[Any]:
    """Return the scope of the strategy that a copy of a model is to be trained with, or one that changes nothing.

    Raises:
        InputError: The model's Keras cannot train with such a strategy.
    """
    if strategy is None:
        return nullcontext()
    version = keras_version(model)
    # Keras 3 hands the batches of all replicas to its layers at once, and stops (keras-team/keras, 20585).
    able = _STRATEGIES if version == 2 else _STRATEGIES[:2]
    if not any(isinstance(strategy, getattr(tf.distribute, name)) for name in able):
        workers = isinstance(strategy, _WORKERS)  # Whose class has another name.
        raise InputError(
            "strategy",
            expected=f"a {' or a '.join(able)} for a model of Keras {version}",
            received=f"a {_STRATEGIES[2] if workers else type(strategy).__name__}",
            remedy="Several machines can train a model of Keras 2 (keras=2)." if workers else "",
        )
    scope: AbstractContextManager[Any] = strategy.scope()
    return scope


def parts(batches: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Return the parts of batches that the replicas of one process take, each with the weights of its rows.

    The weights make the mean over the replicas of their means the mean over the batch. No part is empty, since
    TensorFlow's convolutions fail on no images: where there are not enough rows, one of weight 0 fills it. A single
    replica takes the whole batches, without weights.

    Args:
        batches: The numbers of images, in the batches that all replicas together take.
        context: Of the process.
    """
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return batches.map(lambda rows: (rows,))
    own = replicas // context.num_input_pipelines
    first = context.input_pipeline_id * own

    def of_replica(rows: tf.Tensor, replica: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.size(rows, tf.int64)
        part = rows[replica % size :: replicas]
        share = tf.where(replica < size, tf.size(part) * replicas / tf.size(rows), 0.0)
        return part, tf.fill(tf.shape(part), tf.cast(share, tf.float32))

    def of_replicas(rows: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(first, first + own).map(lambda replica: of_replica(rows, replica))

    return batches.flat_map(of_replicas)


def endless(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return batches of which TensorFlow knows that they do not end, so that workers need not ask each other."""
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(2)


def state_of(model: Any) -> list[Any]:
    """Return the variables of a compiled model and its optimizer that make up the state of its training."""
    return [*_lasting(model, model.variables), *model.optimizer.variables]


def _lasting(model: Any, variables: Sequence[Any]) -> list[Any]:
    """Return a model's variables without those of metrics, which begin anew in every epoch."""
    of_metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in variables if id(variable) not in of_metrics]


def writes_files(model: Any) -> bool:
    """Return whether this process is the one that writes: of the workers that train a model, the first."""
    return bool(model.distribute_strategy.extended.should_checkpoint)


def statistics_averager(model: Any) -> Callable[..., None]:
    """Return what gives all replicas the mean of what each has of its own, whatever it is called with.

    Those are the running statistics of batch normalisations. Keras 3 reads the first replica's, Keras 2 the mean.
    """
    strategy = model.distribute_strategy
    lasting = _lasting(model, model.non_trainable_variables)
    weights = [weight for weight in lasting if tf.as_dtype(weight.dtype).is_floating]
    if strategy.num_replicas_in_sync == 1 or not weights:
        return lambda *_: None

    def mean() -> list[tf.Tensor]:
        own = [tf.convert_to_tensor(weight) for weight in weights]
        # The mean of equal values may differ from them by rounding; that of no differences is 0.
        replica = tf.distribute.get_replica_context()
        return [
            first + replica.all_reduce("mean", value - first) for first, value in zip(_of_first(own), own, strict=True)
        ]

    means = _on_replicas(strategy, mean)

    def average(*_: Any) -> None:
        for weight, value in zip(weights, means(), strict=True):
            weight.assign(value)

    return average


def begin_alike(model: Any) -> None:
    """Give the copies of a model that several workers have the weights of the first one's."""
    if isinstance(model.distribute_strategy, _WORKERS):
        model.set_weights(from_first_worker(model, model.get_weights()))


def from_first_worker(model: Any, arrays: Sequence[Any]) -> list[Any]:
    """Return the arrays that the first of the workers that train a model has, to all of them.

    Args:
        model: The model.
        arrays: Of the same shapes and dtypes in all workers.
    """
    strategy = model.distribute_strategy
    return _on_replicas(strategy, _of_first)(list(arrays)) if isinstance(strategy, _WORKERS) else list(arrays)


def _of_first(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return, on every replica, the values of the first one."""
    replica = tf.distribute.get_replica_context()
    first = replica.replica_id_in_sync_group == 0
    return [replica.all_reduce("sum", tf.where(first, value, tf.zeros_like(value))) for value in values]


def _on_replicas(strategy: tf.distribute.Strategy, function: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Return a function that runs another one on every replica, and returns the arrays that all of them return."""
    run = tf.function(lambda *arguments: strategy.run(function, args=arguments))

    def arrays(*arguments: Any) -> list[Any]:
        return [strategy.experimental_local_results(result)[0].numpy() for result in run(*arguments)]

    return arrays
