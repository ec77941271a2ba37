"""The attacks that follow from a radius, for data that have no customary strength; said without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_laq._internal.validation import one_of, real
from tf_laq.errors import InputError

NORMS = ("linf", "l2")
PRESETS = ("quick", "standard", "strong")

Columns = Mapping[str, Mapping[str, Mapping[str, Any]]]


def battery_within(epsilon: float, norm: str, preset: str) -> dict[str, Any]:
    """Return the battery of a radius as `Battery.from_dict` takes it; `Battery.within` says what is in it.

    Raises:
        InputError: The radius is not above 0, or in "linf" above 1, or there is no such norm or preset.
    """
    check_radius(epsilon, norm)
    one_of("preset", preset, PRESETS)
    columns = _strong(epsilon, norm) if preset == "strong" else _standard(epsilon, norm)
    if preset == "quick":
        columns = {name: columns[name] for name in ("clean", "pgd")}
    name = f"{norm} {epsilon:.4g}/{preset}"
    source = f"The radius {epsilon:.6g} in {norm} is the user's; steps and queries follow from it (Battery.within)."
    return {"name": name, "source": source, "ensemble": preset == "strong", "columns": columns}


def check_radius(epsilon: float, norm: str) -> None:
    """Refuse what `check_ball` refuses, and a radius of 0."""
    check_ball(epsilon, norm)
    if not epsilon:
        raise InputError("epsilon", expected="a radius above 0", received=repr(epsilon))


def check_ball(epsilon: float, norm: str) -> None:
    """Refuse a radius that is negative, or in "linf" above 1, and an unknown norm."""
    real("epsilon", epsilon)
    one_of("norm", norm, NORMS)
    if norm == "linf" and epsilon > 1.0:
        raise InputError(
            "epsilon",
            expected="at most 1 in L-inf, in units of the range [0, 1] of a pixel",
            received=repr(epsilon),
            remedy="Write 8/255 for 8 grey levels.",
        )


def _standard(epsilon: float, norm: str) -> Columns:
    ball = {"epsilon": epsilon, "norm": norm}
    steps = {**ball, "step_size": epsilon / 10}
    return {
        "clean": _model_free("clean"),
        **({"cw_l2": _made_on_models("cw_l2", epsilon=epsilon)} if norm == "l2" else {}),
        "fgsm_weak": _made_on_models("fgsm", **{**ball, "epsilon": epsilon / 2}),
        "fgsm_strong": _made_on_models("fgsm", **ball),
        "pgd": _made_on_models("pgd", **steps, steps=40),
        "bim": _made_on_models("bim", **steps, steps=20),
        "mim": _made_on_models("mim", **steps, steps=20),
        **({"gaussian": _model_free("gaussian", standard_deviation=epsilon)} if norm == "linf" else {}),
        "uniform": _model_free("uniform", **ball),
        "square": _white("square", **ball, queries=1000),
    }


def _strong(epsilon: float, norm: str) -> Columns:
    ball = {"epsilon": epsilon, "norm": norm}
    return {
        "clean": _model_free("clean"),
        "uniform": _model_free("uniform", **ball),
        "mim": {"gray": {"name": "mim", **ball, "steps": 40}},
        "apgd_ce": {
            "gray": {"name": "apgd_ce", **ball, "steps": 100, "stop_when_broken": False},
            "white": {"name": "apgd_ce", **ball, "steps": 100},
        },
        "apgd_t": _white("apgd_t", **ball, steps=100, targets=9),
        **({"ddn": _white("ddn", epsilon=epsilon)} if norm == "l2" else {}),
        "square": _white("square", **ball, queries=5000),
    }


def _model_free(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"none": {"name": name, **settings}}


def _white(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"white": {"name": name, **settings}}


def _made_on_models(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    attack = {"name": name, **settings}
    return {"gray": attack, "white": attack}
