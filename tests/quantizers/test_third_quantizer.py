"""A quantizer of a user's own: one class, one registration."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq


@pytest.fixture
def model():
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.layers.Input((8,)), tf_keras.layers.Dense(5, name="dense")])


def test_it_has_the_same_values_in_numpy_and_tensorflow(ternary):
    w = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    quantized = ternary(2).quantize(w)
    assert np.unique(quantized).size == 3
    assert ternary(2).straight_through(tf.constant(w)).numpy().tobytes() == quantized.tobytes()
    assert np.array_equal(ternary(2).encode(w).decode(), quantized)


def test_it_is_measured_and_chosen_by_the_search(ternary, model):
    assert "ternary" in {m.quantizer for m in laq.measure(model).rows[0].measurements}
    values = np.sign(np.random.default_rng(0).normal(size=(8, 5)) + 0.1).astype(np.float32)
    values[0] = 0
    values[1:] *= 0.5 / np.abs(values).mean()
    model.layers[0].kernel.assign(values)
    plan = laq.search(model, policy="paper", quantizers=("ternary", "linear"), max_bits=2)
    assert "ternary" in {entry.quantizer for entry in plan.entries} or "ternary" in plan.entries[0].reason


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_it_is_planned_applied_trained_saved_and_stripped(ternary, model, tmp_path):
    plan = laq.uniform(model, "ternary", 2)
    plan.save(tmp_path / "plan.json")
    wrapped = laq.apply(model, laq.QuantizationPlan.load(tmp_path / "plan.json"))
    wrapped.compile("sgd", "mse")
    wrapped.fit(np.ones((4, 8)), np.ones((4, 5)), verbose=0)
    wrapped.save(tmp_path / "model.h5")
    loaded = tf_keras.models.load_model(tmp_path / "model.h5")
    batch = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    assert np.array_equal(loaded(batch), laq.strip(wrapped)(batch))
    assert np.unique(laq.strip(wrapped).layers[0].kernel).size <= 3


def test_it_is_gone_after_its_removal(model):
    with pytest.raises(laq.InputError, match="quantizer: expected one of"):
        laq.uniform(model, "ternary", 2)
