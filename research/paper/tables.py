"""Tables 1 to 4: accuracy under gray-box and white-box attacks, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from research.pages import Result, Section, markdown_table, short_bits
from research.paper import reference
from research.paper.facts import facts_of, named, worst_case_fact
from research.paper.settings import GRADIENT_FREE
from research.paper.study import WORST_CASE, Study
from research.statistics import share
from tf_laq.attacks import KNOWLEDGE, Attack
from tf_laq.evaluation import Correct, Difference, Share, drop

GRAY_TABLES, FULL_TABLES = (1, 2), (3, 4)
# The networks of Tables 1 and 2.
_GRAY_NETWORKS = ("adv", "q1", "lq")
_DESCRIPTIONS = {
    "adv": "adversarially trained, full precision",
    "q1": "3-bit linear everywhere",
    "q2": "3-bit log everywhere",
    "lq": "Algorithm 1 at the paper's thresholds",
    "budget": "not the paper's: the least predicted loss at the bits of its `lq`",
}
_HEADERS = (
    "table", "dataset", "network", "column", "knowledge", "accuracy_percent", "lower", "upper", "correct", "count",
    "paper_percent", "drop_points", "drop_lower", "drop_upper", "paper_drop_points", "average_bits", "seed", "settings",
)  # fmt: skip


class Line(NamedTuple):
    """A row of the table: a column of the battery at one knowledge of the model."""

    column: str
    knowledge: str


class Entry(NamedTuple):
    """What a network scores in a line, and how much it loses to `adv` there, here and in the paper."""

    network: str
    line: Line
    share: Share
    paper: float | None
    drop: Difference
    paper_drop: float | None


def accuracy_table(study: Study, command: str, *, number: int) -> Result:
    """Return one of Tables 1 to 4.

    Tables 1 and 2 have the gray-box attacks on `adv`, `q1` and `lq`; Tables 3 and 4 all attacks of the paper on all
    networks, then what Square leaves of that and the worst case, which the paper does not have.

    Args:
        study: The evaluations.
        command: The command that makes it.
        number: Number of the table.
    """
    networks = [name for name in study.networks.evaluated if number in FULL_TABLES or name in _GRAY_NETWORKS]
    lines = list(_lines(study, gray_only=number in GRAY_TABLES))
    entries = [entry for line in lines for entry in _entries(study, number, networks, line)]
    quantized = [name for name in networks if name != "adv"]
    kind = "all attacks" if number in FULL_TABLES else "gray-box attacks"
    parts = [
        "Accuracy in %, with its 95 % Wilson interval over N images, beside the paper's.",
        _table(entries, networks, lambda entry: (str(entry.share), _one_decimal(entry.paper)), "{}"),
        "Drop from `adv` in percentage points, on the same images, with its 95 % interval.",
        _table(entries, quantized, lambda entry: (str(entry.drop), _one_decimal(entry.paper_drop)), "adv - {}"),
        _bits(study, networks),
    ]
    return Result(
        name=f"{study.name}_table{number}",
        title=f"Table {number}: {named(study)}, {kind}",
        sections=[Section("", "\n\n".join(parts), f"{study.name}_table{number}")],
        facts=[*_notes(study, number, networks, lines), *_attack_lines(study, lines), *facts_of(study, command)],
        values=_values(study, entries),
        headers=_HEADERS,
        rows=[_record(study, number, entry) for entry in entries],
    )


def _lines(study: Study, *, gray_only: bool) -> Iterator[Line]:
    """Yield the rows in the paper's order; our own come last."""
    for column in study.paper.columns:
        for knowledge in KNOWLEDGE:
            wanted = knowledge == "gray" or column.name == "clean" or not gray_only
            if wanted and study.has(column.name, knowledge):
                yield Line(column.name, knowledge)
    if not gray_only:
        yield Line(GRADIENT_FREE, "white")
        yield Line(WORST_CASE, "all")


def _correct(study: Study, network: str, line: Line) -> Correct:
    if line.column == GRADIENT_FREE:
        return study.gradient_free(network)
    if line.column == WORST_CASE:
        return study.worst(network)
    return study.correct(network, *line)


def _entries(study: Study, number: int, networks: Sequence[str], line: Line) -> Iterator[Entry]:
    before, its_paper = _correct(study, "adv", line), reference.accuracy(number, study.dataset, "adv", *line)
    for network in networks:
        right = _correct(study, network, line)
        paper = reference.accuracy(number, study.dataset, network, *line)
        paper_drop = None if its_paper is None or paper is None else its_paper - paper
        yield Entry(network, line, share(right), paper, drop(before, right), paper_drop)


def _table(
    entries: Sequence[Entry], networks: Sequence[str], cells: Callable[[Entry], tuple[str, str]], header: str
) -> str:
    """Return a table with two cells for each network: ours and the paper's."""
    pairs = (text for name in networks for text in (header.format(name), "paper"))
    rows: dict[Line, list[str]] = {}
    for entry in entries:
        row = rows.setdefault(entry.line, [*_named(entry.line), str(entry.share.count)])
        row += cells(entry) if entry.network in networks else ()
    return markdown_table(["attack", "attacker knows", "N", *pairs], list(rows.values()))


def _bits(study: Study, networks: Sequence[str]) -> str:
    headers = ["network", "what it is", "average bits", "thresholds met", "bits by layer"]
    rows = []
    for name in networks:
        plan = study.networks.evaluated[name].plan
        met = None if plan is None else "yes" if plan.satisfied else "not by every layer"
        bits = 32.0 if plan is None else plan.average_bits
        settings = None if plan is None else short_bits(plan)
        rows.append([name, _DESCRIPTIONS.get(name, plan.policy if plan else ""), f"{bits:.2f}", met, settings])
    return markdown_table(headers, rows)


def _notes(study: Study, number: int, networks: Sequence[str], lines: Sequence[Line]) -> Iterator[str]:
    yield (
        "Gray-box and white-box rows count an image that is misclassified without an attack as broken. The paper's "
        "attacks are as they are: without the second search that looks for what quantization hides from them."
    )
    if "twin" in study.networks.trained:
        yield "Gray-box examples are made on `twin`, which has the structure of `adv` and other weights, for all rows."
    else:
        yield "No gray-box rows: there is no network in the role `twin` to make examples on."
    if Line(WORST_CASE, "all") in lines:
        yield worst_case_fact(study)
    planned = reference.layer_bits(study.dataset)
    plan = study.networks.quantized["lq"].plan
    if planned and plan is not None and len(planned) == len(plan.entries):
        bits = sum(bits * entry.size for bits, entry in zip(planned, plan.entries, strict=True)) / plan.weights
        yield f"The bits by layer that the paper's search ended with are {bits:.2f} bits on average on this network."
    for name in networks:
        plan = study.networks.evaluated[name].plan
        unmet = [entry.layer for entry in plan.entries if not entry.satisfied] if plan is not None else []
        if unmet:
            yield f"`{name}`: no setting meets the thresholds in {', '.join(unmet)}; it has the smallest error there."
    if number in GRAY_TABLES:
        yield (
            "The paper's `q` is taken for 3-bit linear by its clean accuracy. Its `lq` here is not that of the later "
            "table; ours is Algorithm 1's in both, attacked with the same examples."
        )


def _attack_lines(study: Study, lines: Sequence[Line]) -> Iterator[str]:
    """Yield the settings of every attack."""
    columns = [name for name in study.paper.names if name in {line.column for line in lines}]
    for column in study.paper.only(columns).columns:
        used: dict[Attack, list[str]] = {}
        for knowledge, attack in column.attacks.items():
            if Line(column.name, knowledge) in lines:
                used.setdefault(attack, []).append(knowledge)
        settings = "; ".join(f"{' and '.join(known)}: `{attack}`" for attack, known in used.items())
        yield f"{column.name}, N = {study.count(column.name)}: {settings}"
    if Line(WORST_CASE, "all") in lines:
        tried = [f"{k} `{attack}`" for column in study.strong.columns for k, attack in column.attacks.items()]
        yield f"{WORST_CASE}, N = {study.count(WORST_CASE)}: {'; '.join(tried)}"


def _values(study: Study, entries: Sequence[Entry]) -> dict[str, str]:
    """Return what a remark may name: lq.pgd.white, paper.lq.pgd.white, drop.lq.pgd.white, lq.bits, and so on."""
    values = {}
    for entry in entries:
        name = f"{entry.network}.{entry.line.column}.{entry.line.knowledge}"
        values[name] = f"{100 * entry.share.value:.1f}"
        values[f"n.{name}"] = str(entry.share.count)
        values[f"drop.{name}"] = f"{entry.drop.value:.1f}"
        if entry.paper is not None:
            values[f"paper.{name}"] = f"{entry.paper:.1f}"
        if entry.paper_drop is not None:
            values[f"paper.drop.{name}"] = f"{entry.paper_drop:.1f}"
    for name, network in study.networks.quantized.items():
        if network.plan is not None:
            values[f"{name}.bits"] = f"{network.plan.average_bits:.2f}"
    return values


def _record(study: Study, number: int, entry: Entry) -> list[object]:
    network, line, found, paper, lost, paper_drop = entry
    plan = study.networks.evaluated[network].plan
    drops = (None,) * 4 if network == "adv" else (lost.value, lost.lower, lost.upper, paper_drop)
    return [
        number, study.dataset, network, *line, *(f"{100 * value:.2f}" for value in (found.value, *found.interval)),
        found.successes, found.count, paper, *(None if value is None else f"{value:.2f}" for value in drops),
        f"{32.0 if plan is None else plan.average_bits:.3f}", study.seed, _settings(study, line),
    ]  # fmt: skip


def _settings(study: Study, line: Line) -> str:
    if line.column == WORST_CASE:
        return f"battery {study.strong.name} with its second search, and {study.paper.name} inside the ball"
    battery = study.strong if line.column == GRADIENT_FREE else study.paper
    return repr(battery.only([line.column]).columns[0].attacks[line.knowledge])


def _named(line: Line) -> list[str]:
    knowledge = {"none": "", "gray": "the structure", "white": "all", "all": "all"}[line.knowledge]
    column = "square after these" if line.column == GRADIENT_FREE else line.column.replace("_", " ")
    return [column, knowledge]


def _one_decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
