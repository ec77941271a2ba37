"""What models return, as logits: of whatever dtype, container and activation."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.adapters.heads import activation_of, class_logits, logits_of_probabilities, only_output
from tf_laq.errors import InputError

LOGITS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Pair = collections.namedtuple("Pair", ["features", "logits"])


@pytest.mark.parametrize("dtype", [tf.float64, tf.float16, tf.bfloat16])
def test_logits_are_float32_whatever_the_model_computes_in(dtype) -> None:
    found = class_logits(tf.cast(LOGITS, dtype))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, LOGITS, rtol=1e-2, atol=1e-2)


def test_float32_logits_stay_the_same_bits() -> None:
    np.testing.assert_array_equal(class_logits(tf.constant(LOGITS)), LOGITS)


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
@pytest.mark.parametrize("known", [True, False])
def test_one_logit_is_two_classes(shape, known) -> None:
    @tf.function(input_signature=[tf.TensorSpec(shape if known else [None] * len(shape))])
    def in_a_graph(outputs):
        return class_logits(outputs)

    z = LOGITS[:, 0]
    np.testing.assert_array_equal(in_a_graph(z.reshape(shape)), np.stack([0 * z, z], 1))


def test_more_logits_than_one_stay_as_they_are_where_no_one_knows_how_many() -> None:
    in_a_graph = tf.function(class_logits, input_signature=[tf.TensorSpec([None, None])])
    np.testing.assert_array_equal(in_a_graph(LOGITS), LOGITS)


@pytest.mark.parametrize("container", [lambda z: {"logits": z}, lambda z: [z], lambda z: (z,), lambda z: {"a": [z]}])
def test_the_one_output_in_a_container_is_taken(container) -> None:
    assert only_output(container(LOGITS)) is LOGITS


@pytest.mark.parametrize(
    ("container", "output"),
    [
        (lambda z: {"logits": z, "features": -z}, "logits"),
        (lambda z: [-z, z], 1),
        (lambda z: Pair(-z, z), "logits"),
        (lambda z: {"heads": {"logits": z, "other": -z}}, "logits"),
    ],
)
def test_one_of_several_outputs_is_chosen_by_its_name_or_place(container, output) -> None:
    assert only_output(container(LOGITS), output) is LOGITS
    with pytest.raises(InputError, match=r"^mine: expected one output. .* Choose one: Classifier\(model, output="):
        only_output(container(LOGITS), subject="mine")


@pytest.mark.parametrize("outputs", [{"logits": LOGITS, "other": LOGITS}, LOGITS])
@pytest.mark.parametrize("output", ["scores", 7])
def test_an_output_that_is_not_there_is_refused_with_those_that_are(outputs, output) -> None:
    with pytest.raises(InputError, match=rf"expected an output {output!r}. Received: (the out|a model with)"):
        only_output(outputs, output)


def test_a_list_of_numbers_is_one_output() -> None:
    rows = LOGITS.tolist()
    assert only_output(rows) is rows


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
def test_probabilities_are_told_from_logits_by_their_values(dtype) -> None:
    def rounded(values):
        return tf.cast(tf.cast(values, dtype), tf.float32).numpy()

    many = np.random.default_rng(1).normal(size=(50, 100)) * 3
    for values in (LOGITS, many):
        assert activation_of(rounded(tf.nn.softmax(values))) == "softmax"
        assert activation_of(rounded(tf.nn.sigmoid(values))) == "sigmoid"
        assert activation_of(rounded(values)) == activation_of(rounded(tf.nn.log_softmax(values))) == ""


def test_one_sigmoid_is_told_with_and_without_its_second_class() -> None:
    p = tf.nn.sigmoid(LOGITS[:, :1]).numpy()
    assert activation_of(p) == activation_of(p[:, 0]) == activation_of(class_logits(p).numpy()) == "sigmoid"
    z = LOGITS[:, :1]
    assert activation_of(z) == activation_of(class_logits(z).numpy()) == ""


@pytest.mark.parametrize("values", [np.zeros((5, 3)), np.full((5, 3), np.nan), np.maximum(3 * LOGITS, 0)])
def test_what_only_resembles_probabilities_is_logits(values) -> None:
    assert activation_of(values) == ""


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_of_probabilities_give_these_probabilities(activation) -> None:
    function = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[activation]
    p = function(LOGITS)
    np.testing.assert_allclose(function(logits_of_probabilities(p, activation)), p, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_certain_probabilities_have_finite_logits_and_gradients(activation) -> None:
    p = tf.constant([[0.0, 1.0], [1e-45, 1.0], [1e-30, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(p)
        logits = logits_of_probabilities(p, activation)
    assert np.isfinite(logits).all() and np.isfinite(tape.gradient(logits, p)).all()
