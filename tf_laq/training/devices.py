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
_STRATEGIES = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy, _WORKERS)


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
    if not isinstance(strategy, able):
        raise InputError(
            "strategy",
            expected=f"a {' or a '.join(each.__name__ for each in able)} for a model of Keras {version}",
            received=f"a {type(strategy).__name__}",
            remedy="Several machines can train a model of Keras 2 (keras=2)." if isinstance(strategy, _WORKERS) else "",
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
    # Those of metrics begin anew in every epoch, and are made in the first one.
    of_metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    of_model = [variable for variable in model.variables if id(variable) not in of_metrics]
    return [*of_model, *model.optimizer.variables]


def writes_files(model: Any) -> bool:
    """Return whether this process is the one that writes: of the workers that train a model, the first."""
    return bool(model.distribute_strategy.extended.should_checkpoint)


def average_statistics(model: Any) -> None:
    """Give all replicas the mean of what each has of its own, the running statistics of batch normalisations."""
    strategy = model.distribute_strategy
    weights = [weight for weight in model.non_trainable_weights if tf.as_dtype(weight.dtype).is_floating]
    if strategy.num_replicas_in_sync == 1 or not weights:
        return

    def mean() -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context()
        own = [tf.convert_to_tensor(weight) for weight in weights]
        first = _of_first(replica, own)
        # The mean of equal values is none of them in all its bits; that of no differences is 0.
        return [a + replica.all_reduce("mean", b - a) for a, b in zip(first, own, strict=True)]

    for weight, value in zip(weights, _on_replicas(strategy, mean), strict=True):
        weight.assign(value)


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
    if not isinstance(strategy, _WORKERS):
        return list(arrays)

    return _on_replicas(strategy, lambda: _of_first(tf.distribute.get_replica_context(), arrays))


def _of_first(replica: tf.distribute.ReplicaContext, values: Sequence[Any]) -> list[tf.Tensor]:
    """Return, on every replica, the values of the first one."""
    first = replica.replica_id_in_sync_group == 0
    return [replica.all_reduce("sum", tf.where(first, value, tf.zeros_like(value))) for value in values]


def _on_replicas(strategy: tf.distribute.Strategy, function: Callable[[], list[tf.Tensor]]) -> list[Any]:
    """Return the arrays that a function returns on every replica, the same on all."""
    results = tf.function(lambda: strategy.run(function))()
    return [strategy.experimental_local_results(result)[0].numpy() for result in results]
