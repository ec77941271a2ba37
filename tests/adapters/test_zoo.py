"""Every layer kind: wrapped, baked and stripped models agree to the bit, train, and survive saving."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.adapters import kernels
from tf_laq.errors import InputError

# Where that version of Keras cannot reload the float model either: (version, model, format).
UNSUPPORTED = {
    ("tf_keras", "lambda", "model.keras"),
    ("tf_keras", "nested sequential", "model.h5"),
    ("tf_keras", "a composite layer", "model.h5"),
    ("tf_keras", "bfloat16", "model.keras"),
    ("tf_keras", "bfloat16", "model.h5"),
    ("keras", "operations in the graph", "model.h5"),
    ("keras", "embedding, mask, LSTM", "model.h5"),
    ("keras", "lambda", "model.keras"),
    ("keras", "lambda", "model.h5"),
    ("keras", "bfloat16", "model.h5"),
}
# What files cannot hold: several outputs, and other weights than float32 where Keras does not cast them.
NOT_FOR_FILES = {("tf_keras", name) for name in ("two outputs", "float16", "bfloat16", "float64")}
NOT_FOR_FILES |= {("keras", "two outputs")}


def test_wrapped_baked_and_stripped_outputs_are_the_same_bits(zoo, difference):
    assert difference(zoo.baked, zoo.wrapped, zoo.batch) == 0
    assert difference(laq.strip(zoo.wrapped), zoo.wrapped, zoo.batch) == 0
    one_bit = laq.uniform(zoo.model, "linear", 1)
    wrapped, baked = laq.apply(zoo.model, one_bit), laq.bake(zoo.model, one_bit)
    assert difference(baked, wrapped, zoo.batch) == 0


def test_compiled_outputs_are_the_same_bits_too(zoo):
    of_baked, of_wrapped = (_listed(m.predict(zoo.batch, verbose=0)) for m in (zoo.baked, zoo.wrapped))
    assert all(np.array_equal(a, b) for a, b in zip(of_baked, of_wrapped, strict=True))


def test_the_users_model_is_left_as_it_was(zoo):
    assert all(np.array_equal(a, b) for a, b in zip(zoo.weights_before, zoo.model.get_weights(), strict=True))


def test_every_kernel_is_known(zoo):
    unknown = {left.kind for left in zoo.plan.left_alone if "no known kernel" in left.reason}
    assert unknown <= {"PReLU"}  # Its slopes are no kernel.


def test_baked_weights_are_on_the_plans_grid_and_the_rest_is_untouched(zoo):
    walk = kernels.LayerKinds(zoo.keras).walk
    float_layers, baked_layers = dict(walk(zoo.model)), dict(walk(zoo.baked))
    for entry in zoo.plan.entries:
        values = kernels.values(baked_layers[entry.layer], entry.weight)
        original = kernels.values(float_layers[entry.layer], entry.weight)
        variable = kernels.attribute(baked_layers[entry.layer], entry.weight)
        expected = entry.make_quantizer().quantize(original).astype(tf.as_dtype(variable.dtype).as_numpy_dtype)
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
    # Eagerly, since tracing the step takes longer than the step.
    wrapped.compile(zoo.keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
    wrapped.fit(zoo.batch, targets if len(targets) > 1 else targets[0], epochs=2, verbose=0)
    after = [w.numpy().astype(np.float32) for w in wrapped.trainable_weights]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) >= 0.8, [w.name for w, m in zip(wrapped.trainable_weights, moved, strict=True) if not m]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize(
    "file", ["model.keras", *(pytest.param(f, marks=pytest.mark.slow) for f in ("model.h5", "model"))]
)
def test_a_wrapped_model_reloads_without_a_scope_and_without_a_difference(zoo, file, tmp_path, difference):
    if (zoo.keras.__name__, zoo.name, file) in UNSUPPORTED:
        pytest.skip("this Keras cannot reload the float model in this format either")
    if file == "model" and zoo.keras is not tf_keras:
        zoo.wrapped.export(tmp_path / file, verbose=False)
        loaded = tf.saved_model.load(tmp_path / file)
        # TensorFlow optimises a graph, and by its shapes: the outputs are those of a graph for any number of images.
        any_number = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), zoo.batch)
        assert difference(loaded.serve, tf.function(zoo.wrapped, input_signature=[any_number]), zoo.batch) == 0
    else:
        zoo.wrapped.save(tmp_path / file)
        loaded = zoo.keras.models.load_model(tmp_path / file)
        assert difference(loaded, zoo.wrapped, zoo.batch) == 0


@pytest.mark.slow
def test_an_exported_file_computes_what_the_model_computes(zoo, tmp_path):
    if (zoo.keras.__name__, zoo.name) in NOT_FOR_FILES:
        with pytest.raises(InputError, match=r"expected .*Received"):
            laq.export_tflite(zoo.baked, tmp_path / "model.tflite", zoo.plan)
        return
    report = laq.export_tflite(zoo.baked, tmp_path / "model.tflite", zoo.plan)
    assert report.parity.relative_difference <= 1e-5
    assert report.kept


def test_every_layer_is_in_the_plan_or_left_alone_with_a_reason(zoo):
    named = {entry.layer for entry in zoo.plan.entries} | {layer.layer for layer in zoo.plan.left_alone}
    assert named == {path for path, _ in kernels.LayerKinds(zoo.keras).walk(zoo.model)}
    assert all(layer.reason for layer in zoo.plan.left_alone)


def _listed(result):
    return result if isinstance(result, list) else [result]
