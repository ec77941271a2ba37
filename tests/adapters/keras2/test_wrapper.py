"""What TFMOT's own wrapper gets wrong, and what ours must hold."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq import quantizers
from tf_laq.adapters import keras2

layers = tf_keras.layers


def dense_model(**kwargs):
    return tf_keras.Sequential([layers.Input((4,)), layers.Dense(3, **kwargs)])


def test_a_feature_extractor_can_be_built_on_the_quantized_model():
    model = tf_keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)])
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3))
    features = tf_keras.Model(wrapped.inputs, wrapped.layers[0].output)
    assert features(np.ones((1, 4), np.float32)).shape == (1, 3)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model"])
def test_square_kernels_of_which_one_is_quantized_are_not_swapped_by_saving(tmp_path, file):
    model = tf_keras.Sequential([layers.Input((5, 4)), layers.SimpleRNN(4)])
    plan = laq.uniform(model, "linear", 2)
    only_recurrent = [e for e in plan.entries if e.weight == "cell.recurrent_kernel"]
    other = [e for e in plan.entries if e.weight == "cell.kernel"]
    by_hand = laq.QuantizationPlan(
        "by hand",
        "spectral",
        (*only_recurrent, *(laq.PlanEntry(e.layer, e.weight, e.shape, None, 32, e.norm) for e in other)),
    )
    wrapped = laq.apply(model, by_hand)
    wrapped.save(tmp_path / file)
    loaded = tf_keras.models.load_model(tmp_path / file)
    batch = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    assert np.array_equal(loaded(batch), wrapped(batch))
    assert not np.array_equal(wrapped(batch), model(batch))


def test_a_frozen_layer_stays_frozen():
    model = dense_model(trainable=False)
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3))
    assert wrapped.trainable_weights == []
    assert len(wrapped.non_trainable_weights) == 2
    wrapped.layers[0].trainable = True
    assert len(wrapped.trainable_weights) == 2


def test_regularisation_losses_are_those_of_the_float_model_on_the_same_values():
    model = tf_keras.Sequential(
        [layers.Input((4,)), layers.Dense(3, activity_regularizer="l2", kernel_regularizer="l1")]
    )
    plan = laq.uniform(model, "linear", 16)
    wrapped = laq.apply(model, plan)
    batch = np.ones((2, 4), np.float32)
    model(batch)
    wrapped(batch)
    assert len(wrapped.losses) == len(model.losses) == 2
    assert np.allclose(sorted(map(float, wrapped.losses)), sorted(map(float, model.losses)), rtol=1e-3)


def test_under_mixed_precision_the_float32_values_are_quantized():
    model = tf_keras.Sequential([layers.Input((64,)), layers.Dense(32, dtype="mixed_float16")])
    wrapped = laq.apply(model, laq.uniform(model, "linear", 8))
    baked = laq.strip(wrapped)
    assert baked.layers[0].kernel.dtype == tf.float32
    expected = quantizers.get("linear", 8).quantize(model.layers[0].kernel.numpy())
    assert np.array_equal(baked.layers[0].kernel.numpy(), expected)


def test_variables_are_back_in_their_places_after_a_call_and_after_a_failed_one():
    model = dense_model()
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3))
    kernel = wrapped.layers[0].layer.kernel
    wrapped(np.ones((1, 4), np.float32))
    assert wrapped.layers[0].layer.kernel is kernel
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        wrapped(np.ones((1, 5), np.float32))
    assert wrapped.layers[0].layer.kernel is kernel


def test_every_kernel_is_still_on_its_grid_after_training():
    random = np.random.default_rng(0)
    model = tf_keras.Sequential([layers.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3)])
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3))
    wrapped.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = random.normal(size=(64, 8)), random.integers(0, 3, 64)
    losses = wrapped.fit(images, labels, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for layer in laq.strip(wrapped).layers:
        assert np.unique(layer.kernel).size <= 7


def test_the_gradient_of_a_wrapped_kernel_is_that_of_the_baked_model():
    model = tf_keras.Sequential([layers.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    wrapped = laq.apply(model, laq.uniform(model, "log", 3))
    baked = laq.strip(wrapped)
    batch = tf.constant(np.random.default_rng(0).normal(size=(6, 4)), tf.float32)
    gradients = []
    for network in (wrapped, baked):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(network(batch)))
        gradients.append(tape.gradient(loss, network.trainable_weights))
    for of_wrapped, of_baked in zip(*gradients, strict=True):
        assert np.array_equal(of_wrapped, of_baked)


@pytest.mark.parametrize("quantizer", [keras2.LinearQuantizer(3), keras2.LogQuantizer(4)])
def test_hand_annotated_layers_are_quantized_by_the_weight_only_scheme(quantizer):
    from tensorflow_model_optimization.python.core.quantization.keras import quantize

    model = tf_keras.Sequential([layers.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    config = keras2.WeightOnlyConfig({"kernel": quantizer})
    with tf_keras.utils.custom_object_scope({"WeightOnlyConfig": keras2.WeightOnlyConfig}):
        annotated = tf_keras.models.clone_model(
            model, clone_function=lambda layer: quantize.quantize_annotate_layer(layer, config)
        )
        annotated.set_weights(model.get_weights())
        quantized = quantize.quantize_apply(annotated, scheme=keras2.WeightOnlyScheme())
    plan = laq.uniform(model, quantizer.quantizer.name, quantizer.quantizer.bits)
    batch = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert np.array_equal(quantized(batch), laq.bake(model, plan)(batch))


def test_wrapped_models_can_be_cloned_copied_and_pickled():
    import copy
    import pickle

    model = dense_model()
    wrapped = laq.apply(model, laq.uniform(model, "log", 3))
    batch = np.ones((1, 4), np.float32)
    twin = tf_keras.models.clone_model(wrapped)
    twin.set_weights(wrapped.get_weights())
    for same in (twin, copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        assert np.array_equal(same(batch), wrapped(batch))
