"""The leaderboard: made from what is there, and nothing else."""

import dataclasses

from research.checks.program import SAVED_MODELS
from research.leaderboard import page
from research.pages import RESULTS
from tf_laq.models import CARD, Card


def cards():
    return [Card.load(path) for path in sorted(SAVED_MODELS.glob(f"*/{CARD}"))]


def test_the_published_page_has_the_figures_of_the_cards_and_tables_there_are():
    written = (RESULTS / "leaderboard.md").read_text(encoding="utf-8")
    assert written == page(cards(), RESULTS), "run python -m research.leaderboard"


def test_a_new_card_gets_a_row_at_the_place_of_its_worst_case():
    (template,) = [card for card in cards() if card.name == "mnist_fl"]
    worst = {**template.scores[-1], "accuracy": 0.95, "count": 1000}
    mine = dataclasses.replace(template, name="mine", scores=(template.scores[0], worst), sha256="f" * 64)
    (row,) = [line for line in page([*cards(), mine], RESULTS).splitlines() if "`mine`" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "1", "`mine`", "full precision", "32.00", "", "98.9", "95.0 [93.5, 96.2], N = 1,000", "4", "", "`ffffffff`",
    ]  # fmt: skip


def test_a_network_without_a_worst_case_has_no_place():
    (row,) = [line for line in page(cards(), RESULTS).splitlines() if "`cifar10_wrn4_twin`" in line]
    assert row.strip("|").split("|")[0].strip() == ""
