"""The paper's four claims, each with the numbers to judge it by: under its own attacks, and in the worst case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tf_laq as laq
from research.pages import Result, Section, markdown_table, short_bits
from research.paper import reference
from research.paper.facts import facts_of, named
from research.paper.figure import BITS, FLOAT, QUANTIZERS, ROLES as CURVE_ROLES, bits_curve
from research.paper.plans import Judged, judge, judge_sample
from research.paper.settings import PGD_COLUMN
from research.paper.study import WORST_CASE, Study
from research.statistics import drop_difference, share, spearman
from tf_laq.evaluation import Correct, drop
from tf_laq.report import PALETTE, panels, png

_COLUMNS = {"clean": "no attack", PGD_COLUMN: "the paper's PGD", WORST_CASE: "worst case with Square"}
# The first two, which the paper has, with what the attacker knows.
_KNOWLEDGE = {"clean": "none", PGD_COLUMN: "white"}
# Name of a summary of a plan -> what it is, and how it is found.
_SUMMARIES: Mapping[str, tuple[str, Callable[[Any], float]]] = {
    "sum_error": ("sum of ‖W - W_q‖", lambda plan: sum(e.error_norm for e in plan.entries)),
    "max_error": ("largest ‖W - W_q‖", lambda plan: max(e.error_norm for e in plan.entries)),
    "sum_relative_error": (
        "sum of ‖W - W_q‖ / ‖W‖",
        lambda plan: sum(e.error_norm / e.norm for e in plan.entries if e.norm),
    ),
    "average_bits": ("average bits", lambda plan: plan.average_bits),
}
_CLAIMS = (
    "Adversarially trained networks lose more from quantization than plain ones",
    "Uniform 3 bits destroy robustness",
    "The layer-wise plan restores it at about 3 bits",
    "Lower Lipschitz constants of the error go with higher robustness",
)
_UNIFORM = ("q1", "q2")
_MARKS = {
    "uniform": ("s", PALETTE["blue"]),
    "Algorithm 1": ("^", PALETTE["vermilion"]),
    "random": ("o", PALETTE["green"]),
}
# Where the curves of Figure 1 are far apart.
_LOW_BITS = (2, 3, 4)
_HEADERS = (
    "dataset", "kind", "plan", "bits_by_layer", "average_bits", "sum_error", "max_error", "sum_relative_error",
    "clean_percent", "pgd_percent", "worst_case_percent", "count", "seed",
)  # fmt: skip


def claims(study: Study, command: str) -> Result:
    """Return the numbers that the paper's claims are judged by; the verdicts are remarks, written by hand."""
    sampled = judge_sample(study)
    settings, quantized = study.settings, study.networks.quantized
    # Each is the text of a section, and the numbers that its remark may name.
    parts = [
        _plain_training(study),
        _against_adv(study, [name for name in quantized if name in _UNIFORM]),
        _against_adv(study, [name for name in quantized if name not in _UNIFORM]),
        _norms(study, sampled),
    ]
    sections = [
        Section(f"{number}. {heading}", body, f"{study.name}_claim{number}")
        for number, (heading, (body, _)) in enumerate(zip(_CLAIMS, parts, strict=True), start=1)
    ]
    return Result(
        name=f"{study.name}_claims",
        title=f"The paper's claims on {named(study)}",
        sections=sections,
        facts=[
            f"Claims 2 and 3: the images and attacks of Table {_table(study)}. Claim 4, and claim 1 under attack: the "
            f"first {settings.plan_examples} test images; PGD with the steps of that table, its second search, and "
            f"Square with {settings.plan_queries} queries on what they left.",
            *facts_of(study, command, roles=("orig", "adv", "twin", "fl")),
        ],
        values={name: value for _, values in parts for name, value in values.items()},
        headers=_HEADERS,
        rows=[_record(study, each) for each in sampled],
        picture=_draw(named(study), sampled),
    )


def _plain_training(study: Study) -> tuple[str, dict[str, str]]:
    """Loss of clean accuracy from quantization, and of what withstands weak attacks, by the kind of training."""
    roles = [role for role in CURVE_ROLES if role in study.networks.trained]
    others = [role for role in roles if role != "adv"]
    if not others:
        return "Not judged: it takes a network of the same structure that was trained in another way.", {}
    curves = {role: bits_curve(study, role) for role in roles}
    settings = [f"{name} {bits}" for name in QUANTIZERS for bits in BITS if bits in _LOW_BITS]
    clean = {role: {name: curves[role][name] for name in (FLOAT, *settings)} for role in roles}
    weak = {role: _withstood(study, role, settings) for role in roles}
    small = f"within {study.settings.small_epsilon:.3g} in L-inf"
    judged: list[tuple[str, dict[str, dict[str, Correct]]]] = [
        ("clean accuracy, as in Figure 1", clean),
        (f"PGD {small}", {role: found[PGD_COLUMN] for role, found in weak.items()}),
        (f"worst case {small}", {role: found[WORST_CASE] for role, found in weak.items()}),
    ]
    rows, values = [], {}
    for about, right in judged:
        for name in settings:
            losses = {role: (right[role][FLOAT], right[role][name]) for role in roles}
            row: list[object] = [about, name, *(drop(*losses[role]) for role in roles)]
            for role in others:
                more = drop_difference(losses["adv"], losses[role])
                row.append(more)
                values[f"more.{role}.{about.split()[0].lower()}.{name.replace(' ', '.')}"] = str(more)
            rows.append(row)
    headers = ["accuracy", "quantized to", *(f"{r} loses" for r in roles), *(f"adv - {r}" for r in others)]
    full = [[role, *(share(right[role][FLOAT]) for _, right in judged)] for role in roles]
    body = [
        "Percentage points that quantization costs, with 95 % intervals; `adv - orig` is how much more `adv` loses. "
        "The paper judges by the clean accuracy. Plain networks withstand no strong attack, so here the attacks are "
        "weak.",
        markdown_table(headers, rows),
        "At full precision:",
        markdown_table(["network", *(about for about, _ in judged)], full),
    ]
    return "\n\n".join(body), values


def _withstood(study: Study, role: str, settings: Sequence[str]) -> dict[str, dict[str, Correct]]:
    """Return column -> setting -> where the network in a role withstands the weak attacks."""
    network = study.networks.trained[role]
    plans = [None, *(laq.uniform(network.model, n, int(b), progress=False) for n, b in map(str.split, settings))]
    found: dict[str, dict[str, Correct]] = {PGD_COLUMN: {}, WORST_CASE: {}}
    for name, quantized in zip((FLOAT, *settings), network.in_turn(plans), strict=True):
        right = judge(study, f"weak {role} {name}", quantized, study.settings.small_epsilon)
        for column in found:
            found[column][name] = right[column]
    return found


def _against_adv(study: Study, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return a table of quantized networks beside `adv`, and its values."""
    before = _judged(study, "adv")
    rows, values = [], {}
    for name in ("adv", *names):
        plan = study.networks.evaluated[name].plan
        bits = f"{plan.average_bits if plan else 32.0:.2f}"
        row: list[object] = [name, bits]
        values[f"{name}.bits"] = bits
        for column, right in _judged(study, name).items():
            found, lost = share(right), drop(before[column], right)
            row += [found, lost if name != "adv" else None]
            if column in _KNOWLEDGE:
                row.append(reference.accuracy(_table(study), study.dataset, name, column, _KNOWLEDGE[column]))
            values[f"{name}.{column}"] = f"{100 * found.value:.1f}"
            values[f"drop.{name}.{column}"] = f"{lost.value:.1f}"
        rows.append(row)
    clean, pgd, worst = _COLUMNS.values()
    headers = ["network", "average bits", clean, "drop", "paper", pgd, "drop", "paper", worst, "drop"]
    counts = ", ".join(f"{_COLUMNS[column]} {len(right)}" for column, right in before.items())
    about = f"Accuracy in %, beside the paper's, and drop from `adv` in points, with 95 % intervals. N: {counts}."
    return f"{about}\n\n{markdown_table(headers, rows)}", values


def _judged(study: Study, network: str) -> dict[str, Correct]:
    of_the_paper = {column: study.correct(network, column, known) for column, known in _KNOWLEDGE.items()}
    return {**of_the_paper, WORST_CASE: study.worst(network)}


def _norms(study: Study, sampled: Sequence[Judged]) -> tuple[str, dict[str, str]]:
    """Rank correlation over many plans between norms of the error and accuracy."""
    kinds = {"all plans": list(sampled), "random plans": [each for each in sampled if each.candidate.kind == "random"]}
    rows, values = [], {"plans": str(len(sampled))}
    for about, group in kinds.items():
        for summary, (symbol, measure) in _SUMMARIES.items():
            row: list[object] = [about, len(group), symbol]
            for column in _COLUMNS:
                x = [measure(each.candidate.plan) for each in group]
                found = spearman(x, [each.share(column).value for each in group], seed=study.seed)
                row.append("the accuracy does not vary" if found is None else found)
                values[f"{about.split()[0]}.{summary}.{column}"] = str(found)
            rows.append(row)
    body = [
        "Spearman's rank correlation over plans of `adv`, with 95 % bootstrap intervals over the plans. The claim is "
        "judged by the first row; average bits stand beside the norms because more bits lower all of them.",
        markdown_table(["plans", "number", "summary over layers", *_COLUMNS.values()], rows),
    ]
    return "\n\n".join(body), values


def _record(study: Study, each: Judged) -> list[object]:
    kind, name, plan, _ = each.candidate
    assert plan is not None
    shares = [each.share(column) for column in _COLUMNS]
    measured = {name: measure(plan) for name, (_, measure) in _SUMMARIES.items()}
    norms = (f"{value:.5g}" for name, value in measured.items() if name != "average_bits")
    accuracies = (f"{100 * each.value:.2f}" for each in shares)
    about = [study.dataset, kind, name, short_bits(plan), f"{plan.average_bits:.3f}"]
    return [*about, *norms, *accuracies, shares[0].count, study.seed]


def _draw(images: str, sampled: Sequence[Judged]) -> bytes:
    """Draw the accuracy of plans against the sum of their error norms, a panel per column under attack."""
    columns = (PGD_COLUMN, WORST_CASE)
    figure, found = panels(9.0, 3.8, len(columns))
    for column, axes in zip(columns, found, strict=True):
        for kind, (marker, color) in _MARKS.items():
            shown = [each for each in sampled if each.candidate.kind == kind]
            heights = [100 * each.share(column).value for each in shown]
            sums = [_SUMMARIES["sum_error"][1](each.candidate.plan) for each in shown]
            axes.plot(sums, heights, marker, color=color, markersize=5, label=kind)
        axes.set_xscale("log")
        axes.set_title(_COLUMNS[column], fontsize=10)
        axes.set_xlabel("sum over layers of ‖W - W_q‖")
        axes.set_ylim(-3, 105)
    found[0].set_ylabel("accuracy (%)")
    found[0].legend(frameon=False, loc="lower left", fontsize=8)
    figure.suptitle(f"{images}: {len(sampled)} plans of one network", fontsize=11)
    return png(figure)


def _table(study: Study) -> int:
    return 4 if study.dataset == "cifar10" else 3
