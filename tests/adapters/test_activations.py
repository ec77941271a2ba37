"""A softmax or sigmoid at the end of a model is left out, however it was put there; the model stays as it is."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.adapters import adapter_of, logits_function
from tf_laq.adapters.activations import without_activation

FUNCTIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}
BATCH = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def subclassed(k, end):
    class Classifier(k.Model):
        def __init__(self):
            super().__init__()
            self.dense = k.layers.Dense(3, activation=end)

        def call(self, inputs):
            return self.dense(inputs)

    return Classifier()


def attention(k, end):
    inputs = k.Input((4,))
    weights = k.layers.Softmax()(k.layers.Dense(4)(inputs))
    return k.Model(inputs, k.layers.Dense(3, activation=end)(k.layers.Multiply()([weights, inputs])))


def operation(k, end):
    functions = FUNCTIONS if k is tf_keras else {"softmax": k.ops.softmax, "sigmoid": k.ops.sigmoid}
    inputs = k.Input((4,))
    return k.Model(inputs, functions[end](k.layers.Dense(3)(inputs)))


def quantized(k, end):
    model = k.Sequential([k.Input((4,)), k.layers.Dense(3, activation=end)])
    return laq.apply(model, laq.uniform(model, "linear", 3))


def half(k, end, policy="mixed_float16"):
    return k.Sequential([k.Input((4,)), k.layers.Dense(3, dtype=policy), k.layers.Activation(end, dtype="float32")])


HEADS = {
    "activation": lambda k, end: k.Sequential([k.Input((4,)), k.layers.Dense(3, activation=end)]),
    "function": lambda k, end: k.Sequential([k.Input((4,)), k.layers.Dense(3, activation=FUNCTIONS[end])]),
    "layer": lambda k, end: k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.Activation(end)]),
    "nested": lambda k, end: k.Sequential([k.Input((4,)), HEADS["activation"](k, end)]),
    "nested twice": lambda k, end: k.Sequential([k.Input((4,)), HEADS["nested"](k, end), k.layers.Dropout(0.5)]),
    "lambda of TensorFlow": lambda k, end: k.Sequential(
        [k.Input((4,)), k.layers.Dense(3), k.layers.Lambda(FUNCTIONS[end])]
    ),
    "reshaped": lambda k, end: k.Sequential([k.Input((4,)), HEADS["layer"](k, end), k.layers.Reshape((3,))]),
    "subclassed": subclassed,
    "subclassed in a graph": lambda k, end: k.Sequential([k.Input((4,)), subclassed(k, end)]),
    "attention": attention,
    "operation": operation,
    "operation, nested": lambda k, end: k.Sequential([k.Input((4,)), operation(k, end)]),
    "quantized": quantized,
    "half": half,
    "all half": lambda k, end: k.Sequential([k.Input((4,)), k.layers.Dense(3, activation=end, dtype="mixed_float16")]),
    "bfloat16": lambda k, end: half(k, end, "mixed_bfloat16"),
}


@pytest.mark.parametrize("end", FUNCTIONS)
@pytest.mark.parametrize("head", HEADS)
def test_it_is_left_out_of_calls_eagerly_in_graphs_and_in_gradients(head, end, keras) -> None:
    model = HEADS[head](keras, end)
    before = model(BATCH)
    found = without_activation(model, adapter_of(model).outputs(model), tf.constant(BATCH))
    assert found.activation == end
    logits = tf.cast(found.function(BATCH), tf.float32)
    tolerance = 1e-5 if before.dtype == tf.float32 and head != "bfloat16" else 2e-2
    np.testing.assert_allclose(FUNCTIONS[end](logits), tf.cast(before, tf.float32), rtol=0, atol=tolerance)

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = tf.cast(found.function(images), tf.float32)
        return outputs, tape.gradient(outputs, images)

    outputs, slope = gradient(tf.constant(BATCH))
    np.testing.assert_allclose(outputs, logits, rtol=0, atol=tolerance)
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_array_equal(tf.cast(model(BATCH), tf.float32), tf.cast(before, tf.float32))


@pytest.mark.parametrize("end", FUNCTIONS)
@pytest.mark.parametrize("head", ["activation", "operation", "attention"])
def test_functions_to_logits_find_it_without_images(head, end, keras) -> None:
    model = HEADS[head](keras, end)
    logits = logits_function(model)(BATCH)
    np.testing.assert_allclose(FUNCTIONS[end](logits), model(BATCH), rtol=0, atol=1e-5)
    assert logits.numpy().min() < 0.0


def test_one_sigmoid_becomes_two_classes(keras) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    logits = logits_function(model)(BATCH)
    assert logits.shape == (20, 2)
    np.testing.assert_allclose(tf.nn.softmax(logits)[:, 1:], model(BATCH), rtol=0, atol=1e-6)


@pytest.mark.parametrize("end", FUNCTIONS)
def test_one_in_a_function_of_the_users_own_stays(end, keras) -> None:
    lines = {"softmax": lambda x: tf.nn.softmax(x), "sigmoid": lambda x: tf.nn.sigmoid(x)}
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Lambda(lines[end])])
    found = without_activation(model, adapter_of(model).outputs(model), tf.constant(BATCH))
    assert found.activation == ""
    np.testing.assert_array_equal(found.function(BATCH), model(BATCH))


def test_softmax_inside_of_a_model_of_logits_stays(keras) -> None:
    model = attention(keras, None)
    np.testing.assert_array_equal(logits_function(model)(BATCH), model(BATCH))
