"""Models with code of the user's own: what a class computes is kept, or refused by the name of its layer."""

from __future__ import annotations

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq import training
from tf_laq.adapters.reaching import takes_bytes
from tf_laq.errors import InputError
from tf_laq.training.copying import with_precision

both = pytest.mark.parametrize("k", [tf_keras, keras3], ids=["Keras 2", "Keras 3"])
IMAGES = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)


def scaled(k, nested):
    """Return a Sequential whose class scales its inputs, alone or as a layer of another one."""

    class Scaled(k.Sequential):
        def call(self, x, training=None, mask=None):
            return super().call(3.0 * x - 1.0, training=training)

    layers = [k.layers.Conv2D(4, 3, activation="relu"), k.layers.Flatten(), k.layers.Dense(3)]
    model = Scaled([k.Input((8, 8, 1)), *layers])
    return k.Sequential([k.Input((8, 8, 1)), model]) if nested else model


def doubled(k):
    """Return a functional model whose class doubles its outputs."""

    class Doubled(k.Model):
        def __init__(self, **options):
            inputs = k.Input((8, 8, 1))
            super().__init__(inputs=inputs, outputs=k.layers.Dense(3)(k.layers.Flatten()(inputs)), **options)

        def call(self, x, training=None, mask=None):
            return 2.0 * super().call(x, training=training)

        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            return cls()

    return Doubled()


@both
@pytest.mark.parametrize(
    "make",
    [lambda k: scaled(k, False), lambda k: scaled(k, True), doubled],
    ids=["Sequential", "nested", "functional"],
)
def test_what_the_class_of_a_model_computes_around_its_layers_is_kept_or_refused(k, make, tmp_path) -> None:
    model = make(k)
    model(IMAGES)
    plan = laq.uniform(model, "linear", 3, progress=False)
    baked = laq.bake(model, plan)
    expected = np.asarray(baked(IMAGES))
    if k is tf_keras:
        with pytest.raises(InputError, match=r"which has a call of its own.*laq\.bake"):
            laq.apply(model, plan)
    else:
        wrapped = laq.apply(model, plan)
        np.testing.assert_allclose(wrapped(IMAGES), expected, atol=1e-5)
        np.testing.assert_allclose(laq.strip(wrapped)(IMAGES), expected, atol=1e-5)
        laq.export_tflite(wrapped, tmp_path / "model.tflite")
        np.testing.assert_allclose(laq.tflite.load(tmp_path / "model.tflite")(IMAGES), expected, atol=1e-5)


@both
def test_a_layer_whose_call_is_a_tf_function_is_refused(k) -> None:
    class Traced(k.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(4, 3), name="kernel")

        @tf.function
        def call(self, x):
            return tf.matmul(x, self.kernel)

    model = k.Sequential([k.Input((4,)), Traced(name="traced")])
    plan = laq.uniform(model, "linear", 4, progress=False)
    for quantize in (laq.apply, laq.bake):
        with pytest.raises(InputError, match=r"layer 'traced' \(Traced\).*is a tf.function.*Remove the decorator"):
            quantize(model, plan)


@both
def test_a_kernel_that_loses_its_gradient_in_a_wrapper_is_refused(k) -> None:
    class Recomputed(k.layers.Layer):
        def __init__(self, recomputes, **options):
            super().__init__(**options)
            self.recomputes, self.dense = recomputes, k.layers.Dense(4)

        def build(self, shape):
            self.dense.build(shape)
            self.built = True

        def call(self, x):
            return tf.recompute_grad(self.dense)(x) if self.recomputes else self.dense(x)

        def get_config(self):
            return {**super().get_config(), "recomputes": self.recomputes}

    for recomputes in (False, True):
        layer = Recomputed(recomputes, name="own")
        model = k.Sequential([k.Input((4,)), layer, k.layers.Dense(2)])
        plan = laq.uniform(model, "linear", 4, progress=False)
        laq.bake(model, plan)
        if recomputes:
            with pytest.raises(InputError, match=r"layer 'own', weight 'dense.kernel'.*recompute_grad"):
                laq.apply(model, plan)
        else:
            laq.apply(model, plan)


@both
def test_a_name_that_a_wrapper_would_have_may_be_taken(k) -> None:
    layers = [k.layers.Dense(3, name="dense"), k.layers.ReLU(name="quant_dense"), k.layers.Dense(2, name="last")]
    model = k.Sequential([k.Input((4,)), *layers])
    wrapped = laq.apply(model, laq.uniform(model, "linear", 4, progress=False))
    assert [layer.name for layer in wrapped.layers] == ["quant_dense_", "quant_dense", "quant_last"]
    assert [layer.name for layer in laq.strip(wrapped).layers] == ["dense", "quant_dense", "last"]


@both
def test_the_bias_of_a_users_layer_stays_where_what_it_shifts_is_not_known(k) -> None:
    class Gated(k.layers.Layer):
        """Twice as many units as outputs, one half of which gates the other."""

        def __init__(self, units, **options):
            super().__init__(**options)
            self.units, self.activation = units, tf.identity

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2 * self.units), name="kernel")
            self.bias = self.add_weight(shape=(2 * self.units,), initializer="ones", name="bias")

        def call(self, x):
            values, gates = tf.split(tf.matmul(x, tf.convert_to_tensor(self.kernel)) + self.bias, 2, axis=-1)
            return values * tf.sigmoid(gates)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    model = k.Sequential([k.Input((8, 8, 1)), k.layers.Flatten(), Gated(5, name="gated"), k.layers.Dense(3)])
    quantized = laq.bake(model, laq.uniform(model, "log", 2, progress=False))
    matched = training.match_statistics(quantized, model, IMAGES)
    gated, dense = matched.layers[-2:]
    np.testing.assert_array_equal(gated.get_weights()[1], 1.0)
    assert np.any(dense.get_weights()[1])
    np.testing.assert_allclose(np.mean(matched(IMAGES), axis=0), np.mean(model(IMAGES), axis=0), atol=1e-5)


def test_statistics_of_a_synchronised_batch_normalisation_are_matched() -> None:
    def made(kind):
        norm = kind(name="norm")
        layers = [tf_keras.layers.Conv2D(4, 3, use_bias=False, name="conv"), norm]
        model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), *layers])
        model.set_weights([np.random.default_rng(n).random(w.shape) for n, w in enumerate(model.get_weights())])
        quantized = laq.bake(model, laq.uniform(model, "log", 2, progress=False))
        return training.match_statistics(quantized, model, IMAGES).get_weights()

    kinds = tf_keras.layers.BatchNormalization, tf_keras.layers.experimental.SyncBatchNormalization
    for expected, found in zip(*map(made, kinds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@both
def test_a_network_in_bfloat16_is_the_same_network(k) -> None:
    adapted = k.layers.Normalization(axis=None)
    adapted.adapt(IMAGES)
    inner = k.Sequential([k.Input((8, 8, 1)), k.layers.Conv2D(4, 3, name="conv")])
    inputs = k.Input((8, 8, 1))
    model = k.Model(inputs, k.layers.Dense(3, name="logits")(k.layers.Flatten()(inner(adapted(inputs)))))
    expected = np.asarray(model(IMAGES))
    twin = with_precision(model, "mixed_bfloat16")
    dtypes = {layer.name: layer.compute_dtype for layer in twin._flatten_layers()}
    assert (dtypes["conv"], dtypes["logits"]) == ("bfloat16", "float32")
    np.testing.assert_allclose(twin(IMAGES), expected, atol=0.05 * np.abs(expected).max())


@both
def test_a_loaded_model_is_seen_to_take_bytes(k, tmp_path) -> None:
    model = k.Sequential([k.Input((8, 8, 1)), k.layers.Rescaling(1 / 255), k.layers.Flatten(), k.layers.Dense(3)])
    model.save(tmp_path / "model.keras")
    assert takes_bytes(k.models.load_model(tmp_path / "model.keras"))
