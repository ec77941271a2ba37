"""Every layer kind: wrapped, baked and stripped models agree to the bit, train, and survive saving."""

import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq.keras2 import kernels

# Formats in which tf_keras cannot reload the float model either, or (bfloat16) cannot store it.
UNSUPPORTED = {
    ("lambda", "model.keras"),
    ("nested sequential", "model.h5"),
    ("a user's layer", "model.h5"),
    ("bfloat16", "model.keras"),
    ("bfloat16", "model.h5"),
}


def test_wrapped_baked_and_stripped_outputs_are_the_same_bits(zoo, difference):
    assert difference(zoo.baked, zoo.wrapped, zoo.batch) == 0
    assert difference(laq.strip(zoo.wrapped), zoo.wrapped, zoo.batch) == 0
    one_bit = laq.uniform(zoo.model, "linear", 1)
    wrapped, baked = laq.apply(zoo.model, one_bit), laq.apply(zoo.model, one_bit, baked=True)
    assert difference(baked, wrapped, zoo.batch) == 0


def test_compiled_outputs_are_the_same_bits_too(zoo):
    of_baked, of_wrapped = (_listed(m.predict(zoo.batch, verbose=0)) for m in (zoo.baked, zoo.wrapped))
    assert all(np.array_equal(a, b) for a, b in zip(of_baked, of_wrapped, strict=True))


def test_the_users_model_is_left_as_it_was(zoo):
    assert all(np.array_equal(a, b) for a, b in zip(zoo.weights_before, zoo.model.get_weights(), strict=True))
    assert [len(layer._inbound_nodes) for layer in zoo.model.layers] == zoo.nodes_before


def test_baked_weights_are_on_the_plans_grid_and_the_rest_is_untouched(zoo):
    float_layers, baked_layers = dict(kernels.walk(zoo.model)), dict(kernels.walk(zoo.baked))
    for entry in zoo.plan.entries:
        values = kernels.values(baked_layers[entry.layer], entry.weight)
        original = kernels.values(float_layers[entry.layer], entry.weight)
        variable = kernels.attribute(baked_layers[entry.layer], entry.weight)
        expected = entry.make_quantizer().quantize(original).astype(variable.dtype.as_numpy_dtype)
        assert np.array_equal(values, expected.astype(np.float32))
        assert np.unique(values).size <= 7
    pairs = zip(zoo.model.get_weights(), zoo.baked.get_weights(), strict=True)
    untouched = sum(np.size(a) for a, b in pairs if np.array_equal(a, b))
    assert untouched >= zoo.model.count_params() - sum(entry.size for entry in zoo.plan.entries)


def test_the_wrapped_model_trains_all_the_weights_the_float_model_trains(zoo):
    wrapped = laq.apply(zoo.model, zoo.plan)
    assert [w.shape for w in wrapped.trainable_weights] == [w.shape for w in zoo.model.trainable_weights]
    before = [w.numpy().astype(np.float32) for w in wrapped.trainable_weights]
    targets = [np.ones(y.shape, np.float32) for y in _listed(wrapped(zoo.batch))]
    wrapped.compile(tf_keras.optimizers.SGD(0.5), "mse")
    wrapped.fit(zoo.batch, targets if len(targets) > 1 else targets[0], epochs=2, verbose=0)
    after = [w.numpy().astype(np.float32) for w in wrapped.trainable_weights]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) >= 0.8, [w.name for w, m in zip(wrapped.trainable_weights, moved, strict=True) if not m]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model"])
def test_a_wrapped_model_reloads_without_a_scope_and_without_a_difference(zoo, file, tmp_path, difference):
    if (zoo.name, file) in UNSUPPORTED:
        pytest.skip("tf_keras cannot reload the float model in this format either")
    zoo.wrapped.save(tmp_path / file)
    assert difference(tf_keras.models.load_model(tmp_path / file), zoo.wrapped, zoo.batch) == 0


def test_every_layer_is_in_the_plan_or_left_alone_with_a_reason(zoo):
    named = {entry.layer for entry in zoo.plan.entries} | {layer.layer for layer in zoo.plan.left_alone}
    assert named == {path for path, _ in kernels.walk(zoo.model)}
    assert all(layer.reason for layer in zoo.plan.left_alone)


def _listed(result):
    return result if isinstance(result, list) else [result]
