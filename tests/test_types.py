"""What an editor knows: mypy sees the type of every public name, and accepts a program that uses them."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = [
    "tf_laq", "tf_laq.adapters", "tf_laq.attacks", "tf_laq.evaluation", "tf_laq.models", "tf_laq.policies",
    "tf_laq.quantizers", "tf_laq.report", "tf_laq.tflite", "tf_laq.training",
]  # fmt: skip
PROGRAM = """
import numpy as np
import numpy.typing as npt

import tf_laq as laq
from tf_laq import attacks, policies


def main(model: object, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    size = policies.Limit(average_bits=3.5)
    plan: laq.QuantizationPlan = laq.search(model, policy=policies.Hawq(images, labels, limit=size))
    plan = laq.search(model, overrides={"conv*": "linear:8", "dense": laq.quantizers.Log(4), "out": None})
    attack = attacks.PGD(epsilon=8 / 255, steps=10)
    column = attacks.Column(name="pgd", attacks={"white": attack})
    battery = attacks.Battery(name="mine", columns=(column,))
    report = laq.evaluate({"quantized": laq.apply(model, plan)}, images, labels, battery=battery)
    exported: laq.tflite.ExportReport = laq.export_tflite(laq.bake(model, plan), "model.tflite", layout="packed")
    lower, upper = report.worst_case("quantized").interval
    return plan.average_bits * exported.file_bytes * (upper - lower)
"""
MISTAKES = """
import tf_laq as laq

laq.search(object(), polcy="guarded")
laq.attacks.PGD(epsilon="8/255")
laq.evaluation.Share(1, 2).interval.lower
laq.plan_off(object())
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """A function that checks a program as a user would, away from this project's settings."""
    folder = tmp_path_factory.mktemp("types")

    def check(program):
        path = folder / "program.py"
        path.write_text(program)
        # The libraries that it stands on have no types of their own.
        options = ["--strict", "--ignore-missing-imports", "--config-file=", f"--cache-dir={folder / 'cache'}"]
        quick = ["--follow-imports=silent", "--no-error-summary"]
        command = [sys.executable, "-m", "mypy", *options, *quick, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    return check


def test_a_program_that_uses_the_public_surface_is_accepted(mypy):
    done = mypy(PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_in_arguments_and_names_are_seen(mypy):
    done = mypy(MISTAKES)
    assert [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line] == [4, 5, 6, 7], done


def test_every_public_name_has_a_type(mypy):
    names = {package: importlib.import_module(package).__all__ for package in PACKAGES}
    assert all(names.values())
    lines = [f"reveal_type({package}.{name})" for package, found in names.items() for name in found]
    done = mypy("\n".join([*(f"import {package}" for package in PACKAGES), *lines]))
    revealed = [line for line in done.stdout.splitlines() if "Revealed type is" in line]
    assert len(revealed) == len(lines), done.stdout
    assert not [line for line in revealed if 'is "Any"' in line]
    assert ": error:" not in done.stdout
