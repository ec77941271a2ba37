"""The quantizers' levels, codes and gradients."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from tf_laq import quantizers
from tf_laq.errors import InputError
from tf_laq.quantizers import Linear, Log
from tf_laq.quantizers.arrays import NUMPY, places_in

SETTINGS = list(quantizers.candidates(("linear", "log")))
# Widths on both sides of the step from uint8 to uint16 codes.
SOME_SETTINGS = [
    Linear(1),
    Linear(2),
    Linear(3),
    Linear(8),
    Linear(9),
    Linear(16),
    Log(1),
    Log(2),
    Log(4),
    Log(8),
]

weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=4, max_side=6),
    elements=st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=True),
)
any_setting = st.sampled_from(SETTINGS)


@hypothesis.given(weights, st.sampled_from([0, 1, 7, 128, 129, 300]))
def test_places_among_few_levels_are_found_as_those_among_many(w, count):
    levels = np.linspace(-20, 20, count, dtype=np.float32)
    assert np.array_equal(places_in(levels, w), np.searchsorted(levels, w))


@pytest.mark.parametrize("name", quantizers.names())
def test_a_part_of_a_tensor_is_quantized_with_the_scale_of_the_whole(name):
    w = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    quantizer = quantizers.get(name, 3)
    scale = quantizer.scale(w.reshape(-1), NUMPY)
    assert np.array_equal(quantizer.quantize(w[:, ::16], scale), quantizer.quantize(w)[:, ::16])


@hypothesis.given(weights, any_setting)
def test_there_are_at_most_two_to_the_bits_levels_and_every_weight_is_on_one(w, quantizer):
    encoding = quantizer.encode(w)
    assert encoding.codebook.size <= 2**quantizer.bits
    assert np.array_equal(np.sort(encoding.codebook), encoding.codebook)
    assert encoding.codes.shape == w.shape


@hypothesis.given(weights, any_setting)
def test_codes_decode_to_the_quantized_weights_bit_for_bit(w, quantizer):
    assert quantizer.encode(w).decode().tobytes() == quantizer.quantize(w).tobytes()


@hypothesis.given(weights, any_setting)
def test_quantizing_twice_changes_nothing(w, quantizer):
    once = quantizer.quantize(w)
    assert np.array_equal(quantizer.quantize(once), once)


@hypothesis.given(weights, any_setting)
def test_signs_are_mirrored_where_there_is_a_zero_level(w, quantizer):
    hypothesis.assume(quantizer.bits > 1)
    assert np.array_equal(quantizer.quantize(-w), -quantizer.quantize(w))


@hypothesis.given(weights, st.sampled_from([Linear(b) for b in range(2, 17)]))
def test_linear_moves_no_weight_by_more_than_half_a_step(w, quantizer):
    step = np.abs(w).max() / (2 ** (quantizer.bits - 1) - 1)
    error = np.abs(w.astype(np.float64) - quantizer.quantize(w))
    assert error.max() <= step * (0.5 + 1e-6) * (1 + 2.0**-7) + 2.0**-125


@hypothesis.given(weights, st.sampled_from([Log(b) for b in range(2, 9)]))
def test_log_gives_zero_or_a_power_of_two_within_a_factor_of_sqrt_2(w, quantizer):
    quantized = quantizer.quantize(w)
    kept = quantized != 0
    mantissa, _ = np.frexp(np.abs(quantized[kept]))
    assert np.all(mantissa == 0.5)
    ratio = quantized[kept] / w[kept].astype(np.float64)
    assert np.all((ratio >= 0.5**0.5 * (1 - 1e-7)) & (ratio <= 2**0.5 * (1 + 1e-7)))


@pytest.mark.parametrize("quantizer", SETTINGS, ids=repr)
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "zeros", "one element", "subnormal", "huge"])
def test_numpy_and_tensorflow_agree_bit_for_bit(quantizer, kind):
    random = np.random.default_rng(0)
    w = {
        "normal": random.normal(size=(3, 3, 8, 16)),
        "heavy tails": random.standard_t(2, size=(40, 30)),
        "zeros": np.array([[0.0, -0.0]]),
        "one element": np.array([[-3.7]]),
        "subnormal": np.array([1e-40, -1e-39, 1e-38, -2e-38, 1e-37, 0.0, -0.0]),
        "huge": random.uniform(-1, 1, size=(30,)) * 2.0**126,
    }[kind].astype(np.float32)
    expected = quantizer.quantize(w).tobytes()
    assert quantizer.straight_through(tf.constant(w)).numpy().tobytes() == expected
    variable = tf.Variable(w)
    assert tf.function(lambda: quantizer.straight_through(variable))().numpy().tobytes() == expected


@pytest.mark.parametrize("quantizer", SOME_SETTINGS, ids=repr)
def test_the_gradient_passes_straight_through(quantizer):
    w = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)
    upstream = tf.constant(np.random.default_rng(1).normal(size=(5, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_sum(quantizer.straight_through(w) * upstream)
    assert np.array_equal(tape.gradient(loss, w), upstream)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("quantizer", [Linear(1), Linear(4), Log(4)], ids=repr)
def test_narrow_floats_are_quantized_in_float32_and_rounded_once(quantizer, dtype):
    w = tf.cast(np.random.default_rng(0).normal(size=(50,)), dtype)
    expected = tf.cast(quantizer.quantize(w.numpy()), dtype)
    assert np.array_equal(quantizer.straight_through(w), expected)


def test_linear_levels_are_multiples_of_the_step():
    assert Linear(3).encode([-6.0, 1.0]).codebook.tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert Linear(2).quantize([-6.0, 2.9, 3.1]).tolist() == [-6, 0, 6]


def test_linear_rounds_halves_to_even():
    assert Linear(3).quantize([3.0, 0.5, 1.5, 2.5]).tolist() == [3, 0, 2, 2]


def test_log_levels_are_zero_and_powers_of_two_down_from_the_rounded_maximum():
    assert Log(3).encode([5.0, -0.1]).codebook.tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert Log(3).encode([6.0, -0.1]).codebook.tolist() == [-8, -4, -2, 0, 2, 4, 8]


def test_log_thresholds_lie_at_the_square_root_of_two():
    root = np.float32(2**0.5)
    below, above = np.nextafter(root, np.float32(0)), np.nextafter(root, np.float32(2))
    assert Log(4).quantize([8.0, below, above]).tolist() == [8, 1, 2]


def test_log_agrees_with_the_rounded_logarithm_in_float64():
    w = np.random.default_rng(0).lognormal(sigma=3, size=100_000).astype(np.float32)
    exponent = np.rint(np.log2(w.astype(np.float64)))
    top = exponent.max()
    expected = np.where(exponent > top - 127, 2.0**exponent, 0)
    assert np.array_equal(Log(8).quantize(w), expected)


def test_one_bit_is_the_sign_times_the_mean_magnitude_with_plus_for_zero():
    w = [-4.0, 0.0, -0.0, 2.0]
    assert Linear(1).quantize(w).tolist() == [-1.5, 1.5, 1.5, 1.5]
    assert Log(1).quantize(w).tolist() == [-2, 2, 2, 2]


def test_more_bits_than_the_saturation_width_change_nothing():
    random = np.random.default_rng(0)
    for spread in (0.1, 1, 4):
        w = random.lognormal(sigma=spread, size=200).astype(np.float32)
        last = Log.saturation_bits(w)
        if last < 8:
            assert np.array_equal(Log(last).quantize(w), Log(8).quantize(w))
        if 2 < last < 8:
            assert not np.array_equal(Log(last - 1).quantize(w), Log(8).quantize(w))


def test_the_scale_of_an_encoding_makes_every_level_an_integer():
    w = np.random.default_rng(0).normal(size=300).astype(np.float32)
    for quantizer in (Linear(4), Linear(8), Log(3), Log(4)):
        encoding = quantizer.encode(w)
        integers = np.rint(encoding.codebook / np.float32(encoding.scale))
        assert np.array_equal(integers * np.float32(encoding.scale), encoding.codebook)
        assert np.abs(integers).max() <= 127


@pytest.mark.parametrize("bits", [0, 17, -1, "three", 2.5, None, True])
def test_a_bit_width_that_does_not_exist_is_named(bits):
    with pytest.raises(InputError, match=r"bits: expected a whole number from 1 to 16 .* Received: "):
        Linear(bits)


def test_an_unknown_quantizer_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"quantizer: expected one of linear, log.* Received: 'cubic'"):
        quantizers.get("cubic", 3)


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf], [-np.inf, np.nan], [], np.zeros((0, 3))])
def test_weights_that_are_not_finite_numbers_are_refused(bad):
    with pytest.raises(InputError, match="weights: expected one or more finite numbers"):
        Linear(3).quantize(bad)
