"""The best levels, against every choice of levels there is."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import tensorflow as tf

from tf_laq import quantizers
from tf_laq.quantizers.arrays import NUMPY, tensorflow_operations
from tf_laq.quantizers.kmeans import best_levels


def squared_error(counts, levels):
    positions = np.arange(len(counts)) - len(counts) // 2
    return int((counts * np.min((positions[:, None] - np.asarray(levels)) ** 2, axis=1)).sum())


counted = st.integers(1, 4).flatmap(lambda n: st.lists(st.integers(0, 9), min_size=2 * n + 1, max_size=2 * n + 1))


@hypothesis.given(counted, st.integers(1, 4))
def test_no_levels_with_zero_among_them_have_a_smaller_squared_error(counts, levels):
    counts = np.array(counts)
    found = best_levels(counts, levels, NUMPY)
    everywhere = np.arange(len(counts)) - len(counts) // 2
    best = min(squared_error(counts, (0, *others)) for others in itertools.product(everywhere, repeat=levels - 1))
    assert squared_error(counts, found) == best
    assert 0 in found
    assert np.all(np.diff(found) >= 0)


def test_numpy_and_tensorflow_find_the_same_levels():
    counts = np.random.default_rng(0).poisson(50 * np.exp(-np.abs(np.arange(-127, 128)) / 9)).astype(np.int64)
    for levels in (4, 16):
        found = best_levels(tf.constant(counts), levels, tensorflow_operations())
        assert np.array_equal(found, best_levels(counts, levels, NUMPY))


def test_kmeans_beats_the_even_levels_on_weights_with_heavy_tails():
    w = np.random.default_rng(0).standard_t(3, (60, 50)).astype(np.float32)
    for bits in (2, 3, 4):
        errors = {name: np.square(w - quantizers.get(name, bits).quantize(w)).sum() for name in ("kmeans", "linear")}
        assert errors["kmeans"] < 0.5 * errors["linear"]


@hypothesis.settings(max_examples=8)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from([1e-39, 1e-6, 1.0, 1e30]))
def test_kmeans_has_exact_codes_fixed_points_and_the_same_bits_in_tensorflow(seed, bits, scale):
    quantizer = quantizers.get("kmeans", bits)
    w = (np.random.default_rng(seed).normal(size=(9, 7)) * scale).astype(np.float32)
    quantized = quantizer.quantize(w)
    assert np.unique(quantized).size <= 2**bits
    assert np.array_equal(quantizer.quantize(quantized), quantized)
    assert np.array_equal(quantizer.encode(w).decode(), quantized)
    assert quantizer.straight_through(tf.constant(w)).numpy().tobytes() == quantized.tobytes()
