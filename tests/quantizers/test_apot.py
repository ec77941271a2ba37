"""Additive powers of two: their levels, and all that comes with one registration."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from tf_laq import quantizers

BITS = (3, 4, 5)
SUMS = {
    3: [1, 2, 4],
    4: [1, 2, 3, 4, 6, 8, 10],
    5: [1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48],
}


@pytest.mark.parametrize("bits", BITS)
def test_levels_are_the_sums_of_the_paper(bits):
    levels = quantizers.get("apot", bits).encode([3.0 * SUMS[bits][-1], 0.0]).codebook / 3
    assert levels.tolist() == [*(-each for each in SUMS[bits][::-1]), 0, *SUMS[bits]]
    assert len(levels) == 2**bits - 1
    assert all(bin(each).count("1") <= 2 for each in SUMS[bits])


@pytest.mark.parametrize("bits", BITS)
def test_a_traced_function_gives_the_same_bits(bits):
    quantizer, w = quantizers.get("apot", bits), np.random.default_rng(0).normal(size=500).astype(np.float32)
    traced = tf.function(quantizer.straight_through)
    assert traced(tf.Variable(w)).numpy().tobytes() == quantizer.quantize(w).tobytes()


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from(BITS), st.sampled_from([1e-39, 1e-6, 1.0, 1e30]))
def test_each_weight_goes_to_the_nearest_level_with_the_same_bits_in_tensorflow(seed, bits, scale):
    quantizer = quantizers.get("apot", bits)
    w = (np.random.default_rng(seed).normal(size=(9, 7)) * scale).astype(np.float32)
    quantized = quantizer.quantize(w)
    levels = quantizer.encode(w).codebook.astype(np.float64)
    nearest = np.abs(w[..., None].astype(np.float64) - levels).min(axis=-1)
    np.testing.assert_allclose(np.abs(w - quantized.astype(np.float64)), nearest, rtol=1e-6, atol=2.0**-126)
    assert np.array_equal(quantizer.quantize(quantized), quantized)
    assert np.array_equal(quantizer.encode(w).decode(), quantized)
    assert quantizer.straight_through(tf.constant(w)).numpy().tobytes() == quantized.tobytes()


@pytest.mark.parametrize("bits", BITS)
def test_it_is_planned_trained_through_and_exported_like_the_others(bits, exported):
    kernel = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    assert np.unique(exported("apot", bits, kernel, "packed")[0]).size <= 2**bits - 1
