from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from research.paper.plans import RandomSettings, sample
from tf_laq.policies import make_plan


def test_the_sample_has_more_than_thirty_plans_that_all_differ(networks):
    found = sample(networks.adv, 0)
    assert len(found) > 30
    errors = [tuple(entry.error_norm for entry in plan.entries) for _, _, plan, _ in found]
    assert len(set(errors)) == len(found)
    assert {kind for kind, _, _, _ in found} == {"uniform", "Algorithm 1", "random"}
    assert [plan for _, _, plan, _ in sample(networks.adv, 0)] == [plan for _, _, plan, _ in found]


def test_random_settings_depend_on_the_seed_and_the_layer_alone(networks):
    from tf_laq.adapters import adapter_of

    tensors, left_alone = adapter_of(networks.adv.model).find_weights(networks.adv.model)

    def drawn(methods, seed, tensors=tensors):
        plan = make_plan(tensors, left_alone, RandomSettings(methods, seed), progress=False)
        return {entry.layer: (entry.quantizer, entry.bits) for entry in plan.entries}

    assert drawn(("linear", "log"), 3) == drawn(("linear", "log"), 3, tensors[::-1])
    draws = [drawn(("linear", "log"), seed) for seed in range(40)]
    assert {bits for draw in draws for _, bits in draw.values()} == set(range(2, 9))
    assert {method for draw in draws for method, _ in draw.values()} == {"linear", "log"}
    assert {method for seed in range(9) for method, _ in drawn(("linear",), seed).values()} == {"linear"}


@pytest.mark.parametrize("method", ["linear", "log"])
def test_a_network_quantized_in_turn_is_the_network_quantized_anew(networks, data, method):
    model, images = networks.adv.model, data.test.images[:20]
    plans = [laq.uniform(model, method, 2, progress=False), None, laq.uniform(model, method, 4, progress=False)]
    hashes = []
    for plan, network in zip(plans, networks.adv.in_turn(plans), strict=True):
        expected = model if plan is None else laq.bake(model, plan)
        np.testing.assert_allclose(network.logits(images), expected(images), rtol=1e-5, atol=1e-5)
        hashes.append(network.sha256)
    assert len(set(hashes)) == 3
