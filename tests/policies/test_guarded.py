"""Relative limits that fall with the size of a tensor."""

import numpy as np
import pytest

from tf_laq import quantizers
from tf_laq.errors import InputError
from tf_laq.policies import Guarded, UnsatisfiedWarning, make_plan
from tf_laq.sensitivity import TensorSensitivity


def limit_of(tensor, network, policy):
    largest = max(t.values.size for t in network)
    limit = policy.error * (tensor.values.size / largest) ** 0.75
    return max(limit / policy.input_weight if tensor.fed_by_input else limit, policy.floor)


@pytest.mark.parametrize(
    "policy", [Guarded(), Guarded(error=0.5, floor=0.1, input_weight=2, max_bits=8), Guarded(quantizers=("linear",))]
)
def test_every_tensor_gets_the_fewest_bits_within_its_limit_and_the_best_quantizer_of_these(network, policy):
    plan = make_plan(network, [], policy)
    for tensor, entry in zip(network, plan.entries, strict=True):
        sensitivity = TensorSensitivity(tensor)
        settings = quantizers.candidates(policy.quantizers, 8)
        errors = {quantizer: sensitivity.relative_error(quantizer) for quantizer in settings}
        passing = {q: error for q, error in errors.items() if error <= limit_of(tensor, network, policy)}
        assert entry.bits == min(q.bits for q in passing)
        assert errors[entry.make_quantizer()] == min(e for q, e in passing.items() if q.bits == entry.bits)


def test_an_error_counts_more_in_the_layer_that_the_input_reaches_first(network):
    tight, loose = (make_plan(network, [], Guarded(floor=1e-3, input_weight=weight)).entries for weight in (2, 1))
    assert tight[0].bits > loose[0].bits
    assert tight[1:] == loose[1:]


def test_scaling_a_network_changes_no_bits(network):
    scaled = [type(t)(t.layer, t.weight, t.values * np.float32(64), t.layout, t.fed_by_input) for t in network]
    settings = [[(e.quantizer, e.bits) for e in make_plan(n, [], Guarded()).entries] for n in (network, scaled)]
    assert settings[0] == settings[1]


def test_a_limit_out_of_reach_gives_the_smallest_error_and_a_warning(network):
    with pytest.warns(UnsatisfiedWarning, match="guarded"):
        plan = make_plan(network, [], Guarded(error=1e-6, floor=1e-6, max_bits=4))
    assert not plan.satisfied
    assert {entry.bits for entry in plan.entries} == {4}


def test_more_than_8_bits_are_for_a_small_layer_that_the_input_reaches_first(network, entrance):
    first, *rest = network
    for tensor, bits in ((first, 8), (entrance, 16)):
        with pytest.warns(UnsatisfiedWarning, match="guarded"):
            plan = make_plan([tensor, *rest], [], Guarded(error=1e-9, floor=1e-9, quantizers=("linear",)))
        assert [entry.bits for entry in plan.entries] == [bits, 8, 8]


def test_the_floor_is_as_much_lower_there_as_an_error_counts_more(network, entrance):
    plan = make_plan([entrance, *network[1:]], [], Guarded(error=1e-9, floor=0.05, quantizers=("linear",)))
    errors = [
        TensorSensitivity(tensor).relative_error(entry.make_quantizer())
        for tensor, entry in zip([entrance, *network[1:]], plan.entries, strict=True)
    ]
    assert 0.001 < errors[0] <= 0.005 < max(errors[1:]) <= 0.05


def test_a_limit_that_is_no_positive_number_is_refused():
    with pytest.raises(InputError, match="input_weight: expected a number above 0"):
        Guarded(input_weight=0)
