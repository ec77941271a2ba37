"""Algorithm 1, uniform plans and overrides, on weight tensors without any Keras model."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from tf_laq import lipschitz, policies, quantizers, sensitivity
from tf_laq.errors import InputError
from tf_laq.policies import Algorithm1, Thresholds, Uniform, UnsatisfiedWarning, make_plan
from tf_laq.policies.base import best_within
from tf_laq.sensitivity import TensorSensitivity, WeightTensor


def tensor(values, layer="dense"):
    return WeightTensor(layer, "kernel", np.asarray(values, np.float32), lipschitz.dense())


def svd_norm(matrix):
    return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0]


def plain_algorithm_1(w, thresholds, max_bits):
    """The paper's pseudo code with a decomposition per candidate: (quantizer, bits, passed)."""
    norm = svd_norm(w)
    found, last = [], []
    for method in ("linear", "log"):
        for bits in range(1, min(max_bits, quantizers.quantizer_class(method).max_bits) + 1):
            quantized = quantizers.get(method, bits).quantize(w)
            error = svd_norm(w - quantized)
            if svd_norm(quantized) <= thresholds.ratio * norm and error <= thresholds.error_limit(norm):
                found.append((error, method, bits))
                break
        else:
            last.append((error, method, bits))
    error, method, bits = min(found or last, key=lambda choice: choice[0])
    return method, bits, bool(found)


@pytest.mark.filterwarnings("ignore::tf_laq.policies.UnsatisfiedWarning")
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 2.0, 4.0, 12.0])
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "low rank"])
@pytest.mark.parametrize("shape", [(30, 20), (300, 260)], ids=str)
def test_the_lazy_search_decides_as_a_decomposition_per_candidate_does(shape, kind, scale):
    random = np.random.default_rng(int(scale * 100))
    w = {
        "normal": lambda: random.normal(size=shape),
        "heavy tails": lambda: random.standard_t(3, size=shape),
        "low rank": lambda: random.normal(size=(shape[0], 4)) @ random.normal(size=(4, shape[1])),
    }[kind]().astype(np.float32)
    w *= np.float32(scale / svd_norm(w))
    entry = make_plan([tensor(w)], [], Algorithm1(max_bits=8)).entries[0]
    assert (entry.quantizer, entry.bits, entry.satisfied) == plain_algorithm_1(w, Thresholds(), 8)
    quantized = entry.make_quantizer().quantize(w)
    assert entry.norm == pytest.approx(svd_norm(w), rel=1e-6)
    assert entry.quantized_norm == pytest.approx(svd_norm(quantized), rel=1e-6)
    assert entry.error_norm == pytest.approx(svd_norm(w - quantized), rel=1e-5)
    assert entry.zeros == pytest.approx(np.mean(quantized == 0))


def test_what_passes_is_within_the_thresholds_of_equation_11():
    w = np.random.default_rng(0).normal(size=(50, 40)) / 8
    entry = make_plan([tensor(w)], [], Algorithm1()).entries[0]
    assert entry.satisfied
    assert entry.quantized_norm <= 1.10 * entry.norm
    assert entry.error_norm <= (0.3 if entry.norm < 3 else 1.5)


def test_tighter_error_limits_never_take_fewer_bits_of_one_quantizer():
    w = np.random.default_rng(0).normal(size=(50, 40)) / 8
    bits = [
        make_plan([tensor(w)], [], Algorithm1(thresholds=Thresholds(error_below=limit), quantizers=("linear",)))
        .entries[0]
        .bits
        for limit in (1.0, 0.3, 0.1, 0.03, 0.01)
    ]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


def test_a_tensor_no_setting_passes_for_gets_the_smallest_error_and_a_warning():
    w = np.random.default_rng(0).normal(size=(50, 40)) / 8
    with pytest.warns(UnsatisfiedWarning, match=r"dense\.kernel.*max_bits"):
        plan = make_plan([tensor(w)], [], Algorithm1(max_bits=2))
    entry = plan.entries[0]
    assert not entry.satisfied
    assert not plan.satisfied
    assert "no setting passes" in entry.reason
    measured = TensorSensitivity(tensor(w))
    assert entry.error_norm == min(measured.measure(quantizers.get(m, 2)).error_norm for m in ("linear", "log"))


def test_a_log_floor_above_the_limit_ends_the_search_and_is_said_in_the_reason():
    w = np.random.default_rng(0).normal(size=(200, 100)).astype(np.float32)
    w *= np.float32(2.5 / svd_norm(w))
    entry = make_plan([tensor(w)], [], Algorithm1()).entries[0]
    assert entry.quantizer == "linear"
    assert "log fails" in entry.reason


def test_equal_errors_go_to_the_log_quantizer_as_in_the_paper():
    entry = make_plan([tensor(np.ones((4, 3)))], [], Algorithm1()).entries[0]
    assert (entry.quantizer, entry.bits, entry.error_norm) == ("log", 1, 0.0)


@pytest.mark.parametrize("values", [np.zeros((4, 3)), [[2.5]], [[0.0]]])
def test_zero_and_single_element_kernels_are_planned(values):
    entry = make_plan([tensor(values)], [], Algorithm1()).entries[0]
    assert entry.satisfied
    assert entry.bits <= 2


def test_the_infinity_norm_is_used_where_it_is_asked_for():
    w = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    plan = make_plan([tensor(w)], [], Algorithm1(), norm="inf")
    assert plan.norm == "inf"
    assert plan.entries[0].norm == pytest.approx(np.abs(w).sum(axis=0).max(), rel=1e-6)


def test_a_uniform_plan_gives_every_tensor_the_same_setting():
    tensors = [tensor(np.random.default_rng(i).normal(size=(5, 4)), f"layer{i}") for i in range(3)]
    plan = make_plan(tensors, [], Uniform(quantizers.get("log", 3)))
    assert [(e.layer, e.quantizer, e.bits) for e in plan.entries] == [(f"layer{i}", "log", 3) for i in range(3)]
    assert plan.average_bits == 3


def test_overrides_win_over_the_policy_and_the_last_match_counts():
    tensors = [tensor(np.eye(4), name) for name in ("block1/conv", "block2/conv", "head")]
    overrides = {"block*/conv": quantizers.get("linear", 8), "block2/*": None}
    plan = make_plan(tensors, [], Uniform(quantizers.get("log", 2)), overrides=overrides)
    assert [(e.quantizer, e.bits) for e in plan.entries] == [("linear", 8), (None, 32), ("log", 2)]
    assert plan.entries[0].error_norm is not None
    assert plan.entries[1].reason == "set by hand"


def test_an_override_that_matches_no_layer_is_refused_with_the_layers_there_are():
    with pytest.raises(InputError, match=r"overrides: expected patterns for the layers dense.*'conv\*'"):
        make_plan([tensor(np.eye(4))], [], Algorithm1(), overrides={"conv*": None})


@pytest.mark.parametrize("limit", [0, -0.3, np.nan, np.inf, "0.3"])
def test_a_threshold_that_is_no_positive_number_is_refused(limit):
    with pytest.raises(InputError, match="error_below: expected a number above 0"):
        Thresholds(error_below=limit)


def test_algorithm_1_refuses_unknown_quantizers_and_bit_widths():
    with pytest.raises(InputError, match="quantizer: expected one of"):
        Algorithm1(quantizers=("linear", "cubic"))
    with pytest.raises(InputError, match="bits: expected a whole number"):
        Algorithm1(max_bits=0)


def test_weights_that_are_not_finite_are_refused_by_layer_name():
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match=r"layer 'conv7', weight 'kernel': expected finite weights"):
            tensor([[1.0, bad]], "conv7")


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 2.9, 3.1, 10.0]))
def test_meets_agrees_with_the_exact_norms(seed, scale):
    w = np.random.default_rng(seed).normal(size=(12, 9)).astype(np.float32)
    w *= np.float32(scale / svd_norm(w))
    limits = Thresholds().quantized_limit(scale), Thresholds().error_limit(scale)
    for quantizer in quantizers.candidates(("linear", "log"), 6):
        exact = TensorSensitivity(tensor(w)).measure(quantizer)
        passes = exact.quantized_norm <= limits[0] and exact.error_norm <= limits[1]
        assert TensorSensitivity(tensor(w)).meets(quantizer, *limits) == passes


@pytest.mark.parametrize("layout", ["tall", "wide"])
@pytest.mark.parametrize("kind", ["normal", "nothing there", "nothing elsewhere"])
def test_a_large_tensor_is_judged_by_its_exact_norms_whatever_part_of_it_is_looked_at_first(kind, layout):
    random = np.random.default_rng(0)
    w = random.normal(size=(520, 300)).astype(np.float32)
    first = np.arange(300) % 16 == 0
    if kind != "normal":
        w[:, first if kind == "nothing there" else ~first] = 0
    large = tensor(w if layout == "tall" else w.T)
    for quantizer in (quantizers.get("linear", 3), quantizers.get("log", 4), quantizers.get("kmeans", 3)):
        exact = TensorSensitivity(large).measure(quantizer).error_norm
        assert exact == pytest.approx(svd_norm(large.values - quantizer.quantize(large.values)), rel=1e-6)
        for factor in (0.3, 0.99999, 1.00001, 3):
            found = TensorSensitivity(large).error_within(quantizer, factor * exact)
            assert found == (exact if factor > 1 else None)


def test_of_equal_errors_the_later_setting_is_the_best():
    zeros = TensorSensitivity(tensor(np.zeros((4, 3))))
    settings = [quantizers.get("linear", 3), quantizers.get("log", 3)]
    assert best_within(zeros, settings, 0.0) == settings[1]
    assert best_within(zeros, settings[::-1], 0.0) == settings[0]


def test_the_sensitivity_table_holds_every_setting_and_round_trips_through_json():
    table = sensitivity.measure([tensor(np.random.default_rng(0).normal(size=(6, 5)))])
    assert len(table.rows[0].measurements) == len(list(quantizers.candidates(quantizers.names())))
    assert sensitivity.SensitivityTable.from_json(table.to_json()) == table
    assert "||W-W_q||" in str(table)


def test_the_policy_is_described_in_the_plan_with_its_settings():
    plan = make_plan([tensor(np.eye(3))], [], Algorithm1(thresholds=Thresholds(ratio=1.2)))
    assert "Algorithm 1" in plan.policy
    assert "1.2" in plan.policy
    assert "linear" in policies.Uniform(quantizers.get("linear", 3)).describe()


def test_thresholds_are_those_of_equation_11_by_default():
    assert dataclasses.asdict(Thresholds()) == {
        "ratio": 1.10, "boundary": 3.0, "error_below": 0.3, "error_above": 1.5,
    }  # fmt: skip
