from __future__ import annotations

import pytest

from research.paper import reference

# Copied from the paper's pages, a row per table and network: its first and last numbers.
PRINTED = [
    (1, "mnist", "adv", ("clean", "none", 98.40), ("mim", "gray", 97.76)),
    (1, "mnist", "q1", ("clean", "none", 42.69), ("mim", "gray", 43.61)),
    (1, "mnist", "lq", ("clean", "none", 95.64), ("mim", "gray", 93.82)),
    (2, "cifar10", "q1", ("cw_l2", "gray", 20.00), ("mim", "gray", 19.10)),
    (2, "cifar10", "lq", ("clean", "none", 83.66), ("mim", "gray", 82.80)),
    (3, "mnist", "q2", ("cw_l2", "white", 92.1), ("uniform", "none", 93.1)),
    (3, "mnist", "lq", ("fgsm_strong", "white", 86.2), ("gaussian", "none", 75.4)),
    (4, "cifar10", "adv", ("cw_l2", "white", 54.2), ("uniform", "none", 84.9)),
    (4, "cifar10", "lq", ("bim", "gray", 77.4), ("mim", "white", 50.3)),
]


@pytest.mark.parametrize(("table", "dataset", "network", "first", "last"), PRINTED)
def test_the_accuracies_are_the_printed_ones(table, dataset, network, first, last):
    for column, knowledge, value in (first, last):
        assert reference.accuracy(table, dataset, network, column, knowledge) == value


def test_what_the_paper_does_not_print_is_none():
    assert reference.accuracy(3, "mnist", "lq", "square", "white") is None
    assert reference.accuracy(1, "mnist", "q2", "clean", "none") is None
    assert reference.accuracy(3, "digits", "adv", "clean", "none") is None
    assert reference.norms("digits", "lq", "L_dW") is None


def test_the_norms_are_the_printed_ones():
    assert [str(reference.norms("cifar10", network, "L_Wq")) for network in ("q2", "lq")] == [
        "1.03 ± 1.16",
        "0.96 ± 1.06",
    ]


def test_the_papers_plan_for_cifar10_has_a_layer_for_each_of_the_32():
    bits = reference.layer_bits("cifar10")
    assert len(bits) == 32
    assert {width: [layer for layer, b in enumerate(bits, 1) if b == width] for width in (2, 4)} == {
        2: [7, 8, 9, 10, 11, 17, 19, 20, 21],
        4: [1, 2, 32],
    }
