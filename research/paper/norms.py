"""Table 5: spectral norms over the layers whose settings differ between `q2` and `lq`, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.pages import Result, Section, markdown_table
from research.paper import reference
from research.paper.facts import facts_of, named
from research.paper.study import Study
from research.statistics import spread
from tf_laq.plan import PlanEntry, QuantizationPlan

_QUANTITIES: Mapping[str, tuple[str, Callable[[Any], float]]] = {
    "L_Wq": ("‖W_q‖", lambda entry: entry.quantized_norm),
    "L_dW": ("‖W - W_q‖", lambda entry: entry.error_norm),
}


def norm_table(study: Study, command: str) -> Result:
    """Return Table 5, with the deviation of the population, sqrt(mean((x - mean)^2)): the paper does not say which."""
    plans = {name: plan for name in ("q2", "lq") if (plan := study.networks.quantized[name].plan) is not None}
    pairs = differing(plans["q2"], plans["lq"])
    rows, records, values = [], [], {"layers": str(len(pairs))}
    for place, name in enumerate(plans):
        for quantity, (symbol, norm) in _QUANTITIES.items():
            found = spread([norm(pair[place]) for pair in pairs])
            paper = reference.norms(study.dataset, name, quantity)
            rows.append([name, symbol, found, paper, len(pairs)])
            ours = (None, None) if found is None else (f"{value:.4f}" for value in found)
            records.append([study.dataset, name, quantity, *ours, len(pairs), *(paper or (None, None))])
            values |= {f"{name}.{quantity}": str(found), f"paper.{name}.{quantity}": str(paper)}
    layers = [[pair[0].layer, f"{pair[0].norm:.2f}", *(text for e in pair for text in _cells(e))] for pair in pairs]
    headers = ["layer", "‖W‖", *(f"{name}{text}" for name in plans for text in ("", " ‖W_q‖", " ‖W - W_q‖"))]
    body = [
        "Means and standard deviations over the layers whose settings differ between `q2` and `lq`.",
        markdown_table(["network", "norm", "ours", "paper", "layers"], rows),
        markdown_table(headers, layers) if pairs else "`q2` and `lq` have the same settings in every layer.",
    ]
    facts = [
        "Spectral norms of the kernels as matrices (p = 2); the deviation is that of the population: the paper does "
        "not say which it prints.",
        *facts_of(study, command, roles=("adv",)),
    ]
    return Result(
        name=f"{study.name}_table5",
        title=f"Table 5: {named(study)}, Lipschitz constants",
        sections=[Section("", "\n\n".join(body), f"{study.name}_table5")],
        facts=facts,
        values=values,
        headers=("dataset", "network", "quantity", "mean", "deviation", "layers", "paper_mean", "paper_deviation"),
        rows=records,
    )


def differing(first: QuantizationPlan, second: QuantizationPlan) -> list[tuple[PlanEntry, PlanEntry]]:
    """Return the pairs of entries whose quantizer or bit width differs, of two plans of one network."""
    pairs = zip(first.entries, second.entries, strict=True)
    return [(a, b) for a, b in pairs if (a.quantizer, a.bits) != (b.quantizer, b.bits)]


def _cells(entry: PlanEntry) -> list[str]:
    return [f"{entry.quantizer} {entry.bits}", *(f"{norm(entry):.2f}" for _, norm in _QUANTITIES.values())]
