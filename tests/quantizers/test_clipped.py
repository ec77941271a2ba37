"""The linear quantizer with a clipped range: its step, what it is good for, and all that comes with a registration."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq
from tf_laq import lipschitz, models, quantizers
from tf_laq.adapters import adapter_of

BITS = (2, 3, 4, 5, 6)


def heavy_tailed(seed, shape=(40, 30), scale=1.0):
    return (np.random.default_rng(seed).standard_t(3, size=shape) * scale).astype(np.float32)


def with_range(w, end, bits):
    """The weights on even levels up to `end`, in float64."""
    n = 2 ** (bits - 1) - 1
    return np.clip(np.rint(w.astype(np.float64) * n / end), -n, n) * end / n


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("seed", range(5))
def test_the_step_has_the_least_sum_of_cubes_among_all_ranges(bits, seed):
    w = heavy_tailed(seed)
    largest = float(np.abs(w).max())
    least = min(np.sum(np.abs(w - with_range(w, largest * 2 ** (-i / 8), bits)) ** 3) for i in range(32))
    found = np.sum(np.abs(w - quantizers.get("clipped", bits).quantize(w).astype(np.float64)) ** 3)
    assert found <= 1.02 * least


def test_weights_without_a_tail_keep_their_range():
    w = np.linspace(-1.0, 1.0, 2001)
    assert quantizers.get("clipped", 6).quantize(w).max() > 0.97
    assert quantizers.get("clipped", 3).encode([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]).codebook.size == 7


def test_a_tensor_of_zeros_stays_one():
    assert not quantizers.get("clipped", 4).quantize(np.zeros((3, 2))).any()


@pytest.mark.parametrize("bits", BITS)
def test_a_traced_function_gives_the_same_bits(bits):
    quantizer, w = quantizers.get("clipped", bits), heavy_tailed(0)
    traced = tf.function(quantizer.straight_through)
    assert traced(tf.Variable(w)).numpy().tobytes() == quantizer.quantize(w).tobytes()


@hypothesis.settings(max_examples=20)
@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from(BITS), st.sampled_from([1e-39, 1e-6, 1.0, 1e30]))
def test_weights_go_to_the_nearest_of_even_levels_with_the_same_bits_in_tensorflow(seed, bits, scale):
    quantizer, w = quantizers.get("clipped", bits), heavy_tailed(seed, (9, 7), scale)
    quantized, encoding = quantizer.quantize(w), quantizer.encode(w)
    levels = encoding.codebook.astype(np.float64)
    assert np.array_equal(np.diff(levels), np.full(2**bits - 2, levels[-1] / (2 ** (bits - 1) - 1)))
    nearest = np.abs(w[..., None].astype(np.float64) - levels).min(axis=-1)
    np.testing.assert_allclose(np.abs(w - quantized.astype(np.float64)), nearest, rtol=1e-6, atol=2.0**-126)
    assert np.array_equal(encoding.decode(), quantized)
    assert np.array_equal(quantizer.quantize(quantized), quantized)
    assert quantizer.straight_through(tf.constant(w)).numpy().tobytes() == quantized.tobytes()


@pytest.mark.parametrize("bits", BITS)
def test_the_error_of_trained_kernels_is_near_the_least_of_all_steps_and_below_that_of_the_linear_quantizer(bits):
    ratios = []
    for tensor in adapter_of(model := models.load("mnist_adv")).find_weights(model)[0]:

        def error(quantized, tensor=tensor):
            return lipschitz.norm(tensor.layout.matrices(tensor.values - quantized.astype(np.float32)))

        largest = float(np.abs(tensor.values).max())
        least = min(error(with_range(tensor.values, end * largest, bits)) for end in np.linspace(0.1, 1, 37))
        ours, linear = (error(quantizers.get(name, bits).quantize(tensor.values)) for name in ("clipped", "linear"))
        ratios.append((ours / least, ours / linear))
    to_least, to_linear = np.exp(np.log(ratios).mean(axis=0))
    assert to_least < 1.1
    assert to_linear < 0.95


@pytest.mark.parametrize(("bits", "encoding"), [(2, "int2"), (4, "int4"), (6, "int8")])
def test_it_is_planned_trained_through_and_exported_as_integers(bits, encoding, exported):
    assert exported("clipped", bits, heavy_tailed(1), "auto")[1].encoding == encoding


def test_policies_choose_it_by_name_only():
    assert {q.name for q in quantizers.candidates()} == set(quantizers.names()) - {"clipped"}
    model = models.load("mnist_adv")
    asked, unasked = (laq.search(model, quantizers=m, progress=False).entries for m in (("linear", "clipped"), None))
    assert {entry.quantizer for entry in asked} == {"linear", "clipped"}
    assert "clipped" not in {entry.quantizer for entry in unasked}
