"""Which file to ship, and why."""

from __future__ import annotations

from tf_laq.compression.racing import Race
from tf_laq.compression.result import ORIGINAL, Recommendation, clean_loss, worst_loss
from tf_laq.compression.rule import Rule, points


def recommend(race: Race, rule: Rule) -> Recommendation:
    """Return the winner of a race; where nobody keeps the rule, what comes nearest within its size, or the original."""
    name = race.winner or (ORIGINAL if rule.max_bytes is None else race.take_nearest())
    reason = _reason(race, name)
    if race.winner is None:
        reason = f"No candidate keeps the rule: {rule}. {reason}"
    weight = 100 / race.robustness.count
    if weight > rule.max_loss:
        reason = (
            f"These {race.robustness.count:,} images cannot tell a loss of {points(rule.max_loss)}: one of them is "
            f"{points(round(weight, 1))}. {reason}"
        )
    withstands = race.robustness.worst_case(ORIGINAL)
    if withstands.value <= 1 / race.robustness.classes[ORIGINAL]:
        reason += (
            f" The original is not robust itself: it withstands the attacks on {withstands} % of the images, and "
            "compression cannot change that."
        )
    return Recommendation(name=name, keeps_rule=race.winner is not None, reason=reason)


def _reason(race: Race, name: str) -> str:
    original, chosen = race.models[ORIGINAL], race.models[name]
    if name == ORIGINAL:
        return f"Ship {name}, which is not quantized: {original.bytes:,} bytes."
    worst, clean = worst_loss(race.robustness, name), clean_loss(race.screening, name)
    return (
        f"Ship {name}: {chosen.bytes:,} bytes instead of {original.bytes:,}, {original.bytes / chosen.bytes:.1f} times "
        f"smaller, at {chosen.average_bits:.2f} bits a weight. Its worst case is {_beside(worst.value)} "
        f"(95 %: {worst.lower:.1f} to {worst.upper:.1f}), its accuracy without an attack {_beside(clean.value)}, on "
        f"{race.robustness.count:,} images."
    )


def _beside(loss: float) -> str:
    shown = round(abs(loss), 1)
    return f"{points(shown)} {'below' if loss > 0 else 'above'} the original's" if shown else "the original's"
