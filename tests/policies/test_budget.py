"""Budget and random bits: the limit is kept, and the predicted loss is the least."""

import itertools

import numpy as np
import pytest

from tf_laq import policies, quantizers
from tf_laq.errors import InputError
from tf_laq.policies import Budget, Limit, RandomBits, make_plan
from tf_laq.sensitivity import TensorSensitivity


@pytest.mark.parametrize("limit", [Limit(average_bits=3.3), Limit(max_bytes=1500)], ids=str)
@pytest.mark.parametrize("cost", sorted(policies.COSTS))
def test_the_plan_has_the_least_predicted_loss_of_all_that_fit(network, limit, cost):
    plan = make_plan(network, [], Budget(limit=limit, cost=cost, quantizers=("linear", "kmeans"), max_bits=5))
    settings = list(quantizers.candidates(("linear", "kmeans"), 5))
    sensitivities = [TensorSensitivity(tensor) for tensor in network]
    costs = [{quantizer: policies.COSTS[cost](tensor, quantizer) for quantizer in settings} for tensor in sensitivities]

    def loss(choice):
        return sum(of_tensor[quantizer] for of_tensor, quantizer in zip(costs, choice, strict=True))

    def fits(choice):
        bits = [quantizer.bits * tensor.values.size for quantizer, tensor in zip(choice, network, strict=True)]
        if limit.max_bytes is None:
            return sum(bits) <= limit.average_bits * plan.weights
        return sum(-(-count // 8) for count in bits) <= limit.max_bytes

    best = min(loss(choice) for choice in itertools.product(settings, repeat=3) if fits(choice))
    chosen = [entry.make_quantizer() for entry in plan.entries]
    assert fits(chosen)
    assert loss(chosen) == pytest.approx(best, rel=1e-9)


def test_tensors_set_by_hand_count_towards_the_limit(network):
    by_hand = {"layer1": quantizers.get("linear", 8)}
    for policy in (Budget(limit=Limit(average_bits=4)), RandomBits(limit=Limit(average_bits=4))):
        plan = make_plan(network, [], policy, overrides=by_hand)
        assert plan.entries[1].bits == 8
        assert plan.average_bits <= 4
        with pytest.raises(InputError, match="limit: expected enough for the narrowest"):
            make_plan(network, [], policy, overrides={"layer1": None})


def test_a_limit_on_tensors_that_are_all_set_by_hand_is_no_more_than_checked(network):
    by_hand = {"*": quantizers.get("linear", 4)}
    for policy in (Budget, RandomBits):
        plan = make_plan(network, [], policy(limit=Limit(average_bits=4)), overrides=by_hand)
        assert plan.average_bits == 4
        with pytest.raises(InputError, match="limit: expected enough for the narrowest"):
            make_plan(network, [], policy(limit=Limit(average_bits=3.9)), overrides=by_hand)


@pytest.mark.parametrize("policy", [Budget, RandomBits])
def test_a_limit_below_the_narrowest_settings_is_refused(network, policy):
    with pytest.raises(InputError, match=r"1.5 bits a weight, 2,136 bits too few"):
        make_plan(network, [], policy(limit=Limit(average_bits=1.5), quantizers=("kmeans",)))


@pytest.mark.parametrize("settings", [{}, {"average_bits": 3.0, "max_bytes": 10}])
def test_a_limit_is_exactly_one_of_its_two_kinds(settings):
    with pytest.raises(InputError, match="limit: expected average_bits or max_bytes"):
        Limit(**settings)
    with pytest.raises(InputError, match="max_bytes: expected a number above 0"):
        Limit(max_bytes=0)


def test_a_cost_of_the_users_own_decides(network):
    def only_the_last(sensitivity, quantizer):
        return sensitivity.relative_error(quantizer) * (sensitivity.tensor.layer == "layer2")

    plan = make_plan(network, [], Budget(limit=Limit(average_bits=5.5), cost=only_the_last))
    assert [entry.bits for entry in plan.entries[:2]] == [1, 1]
    assert plan.entries[2].bits > 5
    assert "only the last" in plan.policy
    with pytest.raises(InputError, match="cost: expected a function"):
        Budget(limit=Limit(average_bits=3), cost="taste")
    with pytest.raises(InputError, match=r"cost of Linear\(bits=1\) in layer 'layer0': expected a finite number"):
        make_plan(network, [], Budget(limit=Limit(average_bits=3), cost=lambda *_: np.nan))


def test_an_error_where_the_input_enters_counts_ten_times(network):
    first, second = (TensorSensitivity(tensor) for tensor in network[:2])
    setting, cost = quantizers.get("linear", 4), policies.COSTS["guarded"]
    assert cost(first, setting) == pytest.approx((10 * first.relative_error(setting)) ** (4 / 3))
    assert cost(second, setting) == pytest.approx(second.relative_error(setting) ** (4 / 3))


def test_random_bits_fill_the_limit_and_depend_on_the_seed(network):
    plans = [make_plan(network, [], RandomBits(limit=Limit(average_bits=4), seed=seed)) for seed in (0, 0, 1, 2)]
    bits = [[entry.bits for entry in plan.entries] for plan in plans]
    assert bits[0] == bits[1]
    assert len({tuple(chosen) for chosen in bits}) > 1
    for plan in plans:
        assert plan.average_bits <= 4
        narrowest = min(e.size for e in plan.entries if e.bits < 8)
        assert (plan.average_bits + narrowest / plan.weights) > 4
