"""Where things are: no file imports itself by way of others, and none outgrows a reader."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tf_laq"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere: at its top, in functions, for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: (imported(path) & MODULES.keys()) - {module} for module, path in MODULES.items()}
    # What imports nothing that is left can be in no circle.
    while free := {module for module, others in graph.items() if not others & graph.keys()}:
        graph = {module: others for module, others in graph.items() if module not in free}
    # What nothing that is left imports can be in none either.
    while unused := graph.keys() - {other for others in graph.values() for other in others}:
        graph = {module: others for module, others in graph.items() if module not in unused}
    assert {module: sorted(others & graph.keys()) for module, others in graph.items()} == {}


def test_the_package_knows_nothing_of_what_is_built_with_it():
    for path in FILES:
        top = {name.partition(".")[0] for name in imported(path)}
        assert not top & {"research", "tests", "benchmarks", "scripts"}, path


INTERNALS = {"call", "_flatten_layers", "_keras_history", "_inbound_nodes", "_outbound_nodes", "_nested_inputs"}


def test_only_the_adapters_know_how_keras_is_made():
    for path in FILES:
        if path.is_relative_to(PACKAGE / "adapters"):
            continue
        assert not {name.partition(".")[0] for name in imported(path)} & {"keras", "tf_keras"}, path
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not attributes & INTERNALS, path


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_file_outgrows_a_reader(path):
    assert len(path.read_text().splitlines()) <= 400


WITHOUT_TENSORFLOW = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "cleverhans"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())

import numpy as np
from tf_laq import lipschitz, plan, policies, quantizers, sensitivity

random = np.random.default_rng(0)
tensors = [
    sensitivity.WeightTensor("conv", "kernel", random.normal(size=(3, 3, 1, 8)).astype("f4"), lipschitz.conv2d(), True),
    sensitivity.WeightTensor("dense", "kernel", random.normal(size=(72, 10)).astype("f4"), lipschitz.dense()),
]
size = policies.Limit(average_bits=3.5)
chosen = [policies.Guarded(), policies.Algorithm1(), policies.Budget(limit=size), policies.RandomBits(limit=size)]
for policy in [*chosen, policies.Uniform(quantizers.get("kmeans", 3))]:
    made = policies.make_plan(tensors, [], policy, progress=False)
    assert plan.QuantizationPlan.from_json(made.to_json()) == made
assert len(sensitivity.measure(tensors, progress=False).rows) == 2
"""


def test_the_core_runs_where_there_is_no_tensorflow():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_TENSORFLOW], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
