"""Beyond the paper: its network quantized in many ways, each judged by its size and its worst case."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

import tf_laq as laq
from research.pages import Result, Section, markdown_table, short_bits
from research.paper.facts import facts_of, named, worst_case_fact
from research.paper.plans import Candidate, Judged
from research.paper.roles import UNIFORM_BITS, Network, Networks
from research.paper.settings import GRADIENT_FREE, PGD_COLUMN as PGD
from research.paper.study import WORST_CASE, Study
from tf_laq import datasets, policies, training
from tf_laq.errors import InputError
from tf_laq.evaluation import Difference, drop
from tf_laq.plan import FLOAT_BITS, QuantizationPlan
from tf_laq.policies import Limit
from tf_laq.report import PALETTE, panels, png

_COLUMNS = {"clean": "no attack", PGD: "PGD", GRADIENT_FREE: "then Square", WORST_CASE: "worst case"}
# Uniform settings that the paper's tables have under another name, so that nothing is attacked twice.
_IN_THE_TABLES = {("linear", UNIFORM_BITS): "q1", ("log", UNIFORM_BITS): "q2"}
_TITLES = {"q1": "q1 (linear 3)", "q2": "q2 (log 3)", "lq": "lq (Algorithm 1)"}
# Kinds of candidates that share the plan of another -> the ending of their names.
_AFTER_THE_PLAN = {"corrected": "bc", "recalibrated": "bn", "textures": "tx", "matched": "sm", "fine-tuned": "ft"}
# The training images that `calibrated` looks at, of those there are.
_CALIBRATED_ON = 64
_MARKS = {
    "float32": ("*", PALETTE["black"]),
    "linear": ("s", PALETTE["blue"]),
    "log": ("v", PALETTE["sky"]),
    "kmeans": ("D", PALETTE["purple"]),
    "clipped": ("h", PALETTE["yellow"]),
    "policy": ("o", PALETTE["green"]),
    "recalibrated": ("P", PALETTE["orange"]),
    "textures": ("<", PALETTE["orange"]),
    "matched": (">", PALETTE["vermilion"]),
    "corrected": ("X", PALETTE["sky"]),
    "fine-tuned": ("^", PALETTE["vermilion"]),
}
_OTHER_QUANTIZER = ("d", "#999999")
_HEADERS = (
    "dataset", "network", "kind", "average_bits", "bytes", "clean_percent", "pgd_percent", "square_percent",
    "worst_case_percent", "lower", "upper", "drop_points", "drop_lower", "drop_upper", "front", "count", "seed",
    "bits_by_layer",
)  # fmt: skip


class Standing(NamedTuple):
    """A row of the table.

    Attributes:
        judged: The candidate, with where it is right, on the same images in every column.
        bytes: Of the codes of its weights and of the values that stay float32.
        lost: Points of the worst case below `adv`.
        best: Whether no other one is as small and as robust.
    """

    judged: Judged
    bytes: int
    lost: Difference
    best: bool


def selection_table(study: Study, command: str) -> Result:
    """Return the table of all candidates and the picture of size against worst case."""
    study = dataclasses.replace(study, settings=study.settings.for_selection())
    judged = [_judge(study, candidate, network) for candidate, network in _networks(study)]
    sizes = [_bytes(study, each.candidate.plan) for each in judged]
    lost = [drop(judged[0].correct[WORST_CASE], each.correct[WORST_CASE]) for each in judged]
    best = pareto([(size, each.share(WORST_CASE).successes) for each, size in zip(judged, sizes, strict=True)])
    standings = [Standing(*each) for each in zip(judged, sizes, lost, best, strict=True)]
    headers = ["network", "average bits", "kB", *_COLUMNS.values(), "below `adv`", "bits by layer"]
    body = [
        f"Accuracy in %, with its 95 % Wilson interval over {judged[0].share(WORST_CASE).count} images "
        f"({judged[0].share('clean').count} without an attack); points of the worst case below `adv`, on the same "
        "images. kB: the codes of the weights, and float32 for the rest. In bold: no other one is as small and as "
        "robust.",
        markdown_table(headers, [_row(each) for each in standings]),
    ]
    return Result(
        name=f"{study.name}_selection",
        title=f"Choosing bits: {named(study)}, size and worst case",
        sections=[Section("", "\n\n".join(body), f"{study.name}_selection")],
        facts=[*_facts(study), *facts_of(study, command)],
        values=_values(standings),
        headers=_HEADERS,
        rows=[_record(study, each) for each in standings],
        picture=draw_front(named(study), standings),
    )


def pareto(points: Sequence[tuple[int, int]]) -> list[bool]:
    """Return which points (size, accuracy) no other one beats: none is as small and as accurate, and better in one.

    Example:
        >>> pareto([(9, 90), (4, 80), (5, 70), (4, 60)])
        [True, True, False, False]
    """
    return [
        not any(
            size <= own_size and right >= own_right and (size, right) != (own_size, own_right) for size, right in points
        )
        for own_size, own_right in points
    ]


def candidates(study: Study) -> Iterator[Candidate]:
    """Yield the candidates of a data set, `adv` first; what is done after the plan comes after all plans.

    The kinds: "float32", a quantizer for uniform settings, "policy", "corrected" (the biases), "recalibrated" (the
    batch normalisation), "matched" (the statistics, on images or on "textures") or "fine-tuned".
    """
    chosen, model = study.settings.selection, study.networks.adv.model
    found = [Candidate("float32", "adv", None)]
    for quantizer, widths in chosen["uniform"].items():
        for bits in widths:
            name = _IN_THE_TABLES.get((quantizer, bits), f"{quantizer}-{bits}")
            found.append(Candidate(quantizer, name, laq.uniform(model, quantizer, bits, progress=False)))
    # `lq`, and the plans of the caller.
    for name, network in study.networks.quantized.items():
        if name not in _IN_THE_TABLES.values():
            found.append(Candidate("policy", name, network.plan))
    by_limit = _by_limit(study)
    found.append(Candidate("policy", "guarded", laq.search(model, progress=False)))
    for name, quantizers in chosen["guarded"].items():
        plan = laq.search(model, policy=policies.Guarded(quantizers=tuple(quantizers)), progress=False)
        found.append(Candidate("policy", f"guarded-{name}", plan))
    for name, limits in chosen["by_limit"].items():
        found += [Candidate("policy", f"{name}-{bits:g}", by_limit[name](bits)) for bits in limits]
    yield from found
    plans = {candidate.name: candidate.plan for candidate in found}
    for kind, bases in chosen["after"].items():
        for base in bases:
            if base not in plans:
                name, _, bits = base.rpartition("-")
                plans[base] = by_limit[name](float(bits))
            yield Candidate(kind, f"{base}+{_AFTER_THE_PLAN[kind]}", plans[base], base)


def _by_limit(study: Study) -> Mapping[str, Callable[[float], QuantizationPlan]]:
    """Return the policies that keep to average bits, by name."""
    chosen, model = study.settings.selection, study.networks.adv.model
    train = datasets.load(study.dataset).train
    batch = train.images[: chosen["images"]], train.labels[: chosen["images"]]

    def plan(policy: policies.Policy | policies.DataDrivenPolicy) -> QuantizationPlan:
        return laq.search(model, policy=policy, progress=False)

    def budget(bits: float) -> QuantizationPlan:
        return plan(policies.Budget(limit=Limit(average_bits=bits)))

    def hawq(bits: float) -> QuantizationPlan:
        limit = Limit(average_bits=bits)
        return plan(policies.Hawq(*batch, limit=limit, seed=study.seed))

    def calibrated(bits: float) -> QuantizationPlan:
        images, limit = batch[0][:_CALIBRATED_ON], Limit(average_bits=bits)
        return plan(policies.Calibrated(images, limit=limit, attack=study.paper.pgd, seed=study.seed))

    @functools.cache
    def noise() -> policies.BitsBySensitivity:
        return policies.NoiseSensitivity(*batch, attack=study.paper.pgd, seed=study.seed).measure(model)

    def ans(bits: float) -> QuantizationPlan:
        # This policy has no limit on the size, but it grows with the bits of the most sensitive layer.
        for widest in range(8, 0, -1):
            found = plan(dataclasses.replace(noise(), initial_bits=widest))
            if found.average_bits <= bits:
                return found
        raise InputError("by_limit, ans", expected="1 bit a weight or more", received=bits)

    def random(bits: float) -> QuantizationPlan:
        return plan(policies.RandomBits(limit=Limit(average_bits=bits), seed=study.seed))

    return {"budget": budget, "calibrated": calibrated, "hawq": hawq, "ans": ans, "random": random}


def _networks(study: Study) -> Iterator[tuple[Candidate, Network]]:
    """Yield the candidates with their networks, which are good until the next."""
    for candidate in candidates(study):
        if candidate.plan is None:
            yield candidate, study.networks.adv
        else:
            weights = _weights(study, candidate, candidate.plan)
            yield candidate, study.networks.adv.filled(candidate.name, weights, candidate.plan)


def _weights(study: Study, candidate: Candidate, plan: QuantizationPlan) -> list[npt.NDArray[Any]]:
    adv = study.networks.adv
    if candidate.kind == "fine-tuned":
        return _tuned(study, candidate.name, plan)
    images = datasets.load(study.dataset).train.images[: study.settings.selection["images"]]
    baked = laq.bake(adv.model, plan)
    if candidate.kind == "corrected":
        baked = training.correct_biases(baked, adv.model, images)
    elif candidate.kind == "recalibrated":
        baked = training.recalibrate_batch_norm(baked, images)
    elif candidate.kind == "matched":
        baked = training.match_statistics(baked, adv.model, images, attack=study.paper.pgd, seed=study.seed)
    elif candidate.kind == "textures":
        baked = training.match_statistics(baked, adv.model, training.textures(adv.model, seed=study.seed))
    weights: list[npt.NDArray[Any]] = baked.get_weights()
    return weights


def _tuned(study: Study, name: str, plan: QuantizationPlan) -> list[npt.NDArray[Any]]:
    """Return the weights after adversarial fine-tuning, from the cache or trained now."""
    adv, recipe = study.networks.adv, training.recipe(study.dataset, "finetune")
    recipe = dataclasses.replace(recipe, **study.settings.selection["recipe"])

    def make() -> dict[str, npt.NDArray[Any]]:
        study.announce(f"{name}: fine-tuning, {recipe.epochs} epochs")
        tuned = training.fine_tune(adv.model, plan, study.dataset, recipe, examples="both", seed=study.seed)
        return {f"{place:04d}": value for place, value in enumerate(laq.strip(tuned).get_weights())}

    facts = {"network": adv.sha256, "plan": plan.to_dict(), "recipe": dataclasses.asdict(recipe), "seed": study.seed}
    found = study.cache.arrays(f"{study.dataset}-weights-{name}", facts, make)
    return [found[place] for place in sorted(found)]


def _judge(study: Study, candidate: Candidate, network: Network) -> Judged:
    name = candidate.name
    others = {} if candidate.plan is None else {name: network}
    alone = dataclasses.replace(study, networks=Networks(study.networks.trained, others))
    correct = {
        "clean": alone.correct(name, "clean", "none"),
        PGD: alone.correct(name, PGD, "white"),
        GRADIENT_FREE: alone.gradient_free(name),
        WORST_CASE: alone.worst(name),
    }
    return Judged(candidate, correct)


def _bytes(study: Study, plan: QuantizationPlan | None) -> int:
    """Return the bytes of the codes of a network's weights, and of float32 for the rest."""
    parameters = int(study.networks.adv.model.count_params())
    quantized, codes = (0, 0) if plan is None else (plan.weights, plan.bytes)
    return codes + FLOAT_BITS // 8 * (parameters - quantized)


def _row(standing: Standing) -> list[object]:
    _, name, plan, _ = standing.judged.candidate
    title = _TITLES.get(name, name)
    about = [f"**{title}**" if standing.best else title, _bits(plan), f"{standing.bytes / 1000:.1f}"]
    shares = [standing.judged.share(column) for column in _COLUMNS]
    return [*about, *shares, *((None, None) if plan is None else (standing.lost, short_bits(plan)))]


def _record(study: Study, standing: Standing) -> list[object]:
    judged, size, lost, best = standing
    kind, name, plan, _ = judged.candidate
    shares = [judged.share(column) for column in _COLUMNS]
    numbers = [*(share.value for share in shares), *shares[-1].interval]
    drops = [None] * 3 if plan is None else [f"{value:.2f}" for value in dataclasses.astuple(lost)]
    about = [study.dataset, name, kind, _bits(plan), size, *(f"{100 * number:.2f}" for number in numbers)]
    return [*about, *drops, int(best), shares[-1].count, study.seed, "" if plan is None else short_bits(plan)]


def _bits(plan: QuantizationPlan | None) -> str:
    return f"{FLOAT_BITS if plan is None else plan.average_bits:.2f}"


def _values(standings: Sequence[Standing]) -> dict[str, str]:
    """Return what a remark may name: lq.worst_case, lq.drop, lq.bits, lq.kb, and so on."""
    values: dict[str, str] = {}
    for judged, size, lost, _ in standings:
        name = judged.candidate.name
        values |= {f"{name}.{column}": f"{100 * judged.share(column).value:.1f}" for column in _COLUMNS}
        values |= {f"{name}.drop": f"{lost.value:.1f}", f"{name}.bits": _bits(judged.candidate.plan)}
        values[f"{name}.kb"] = f"{size / 1000:.1f}"
    return values


def _facts(study: Study) -> Iterator[str]:
    few = study.settings.selection["images"]
    yield "Not in the paper. `lq` is the paper's own way; none of the others is mixed into it."
    yield f"PGD: `{study.paper.pgd}`. {worst_case_fact(study)}"
    yield (
        "`budget`, `hawq`, `ans` and `random` followed by the bits a weight that they may take; the seed of `random` "
        f"is that of the table. `hawq` and `ans` look at the first {few} training images, as do `+bc`, the correction "
        "of the biases, and `+bn`, the recalibration of the batch normalisation."
    )
    if {"matched", "textures"} & set(study.settings.selection["after"]):
        yield (
            f"`calibrated` looks at the first {min(few, _CALIBRATED_ON)} training images. `+sm`: statistics matched on "
            f"the first {few} training images without labels, half of them examples of that PGD; `+tx`: matched on "
            "images of noise, without data."
        )
    for name, quantizers in study.settings.selection["guarded"].items():
        yield f"`guarded-{name}`: `guarded` with these quantizers alone: {', '.join(quantizers)}."
    changes = ", ".join(f"{name} {value}" for name, value in study.settings.selection["recipe"].items())
    recipe = f"`finetune` with {changes}" if changes else "`finetune`"
    yield f"`+ft`: adversarial fine-tuning by the recipe {recipe}, examples on both networks."


def draw_front(images: str, standings: Sequence[Standing]) -> bytes:
    """Draw the worst case of quantized networks against their size, and join those that none beats."""
    figure, (axes,) = panels(7.5, 4.6)
    places = [(size / 1000, judged.share(WORST_CASE)) for judged, size, _, _ in standings]
    found = list(zip(standings, places, strict=True))
    front = sorted((size, 100 * share.value) for standing, (size, share) in found if standing.best)
    axes.step(*zip(*front, strict=True), where="post", color="#888888", linewidth=1.0, label="none beats these")
    for kind in dict.fromkeys(standing.judged.candidate.kind for standing in standings):
        shown = [place for standing, place in found if standing.judged.candidate.kind == kind]
        heights = [100 * share.value for _, share in shown]
        ends = [[abs(100 * share.interval[side] - 100 * share.value) for _, share in shown] for side in (0, 1)]
        marker, color = _MARKS.get(kind, _OTHER_QUANTIZER)
        sizes = [size for size, _ in shown]
        axes.errorbar(sizes, heights, ends, fmt=marker, color=color, markersize=5, elinewidth=0.7, label=kind)
    for standing, (size, share) in found:
        if standing.best and share.successes:
            text, place = standing.judged.candidate.name, (size, 100 * share.value)
            axes.annotate(text, place, (2, 6), textcoords="offset points", fontsize=7, rotation=40)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("kB of weights")
    axes.set_ylabel("worst case (%)")
    axes.set_ylim(-3, 110)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{images}: size and worst case, N = {places[0][1].count}", fontsize=11)
    return png(figure)
