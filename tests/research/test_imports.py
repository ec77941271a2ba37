"""research/ and scripts/ use what tf_laq makes public, and nothing else of it."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tf_laq"
MODULES = {"datasets", "lipschitz", "plan", "sensitivity", "errors", "cli.main"}
"""The modules without a package whose names are public; the last one is what scripts call."""


def public_names(package):
    """Return the names that the stub of a package lists, or its `__all__`; None for what is not a public package."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    stub = folder / "__init__.pyi"
    if stub.is_file():
        nodes = ast.parse(stub.read_text(encoding="utf-8")).body
        return {alias.asname or alias.name for node in nodes for alias in node.names}
    if package == "tf_laq.quantizers":
        return set(importlib.import_module(package).__all__)
    return None


def forbidden(source):
    """Return the imports of a source that reach behind the public names of tf_laq."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("tf_laq.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tf_laq":
            if node.module.removeprefix("tf_laq.") in MODULES:
                continue
            allowed = public_names(node.module) or set()
            if node.module == "tf_laq":
                allowed |= MODULES
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in allowed]
    return found


@pytest.mark.parametrize(
    "path", [p for folder in ("research", "scripts") for p in sorted((ROOT / folder).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_only_public_names_are_imported(path):
    assert forbidden(path.read_text(encoding="utf-8")) == []


def test_what_is_not_public_is_found():
    source = """
import tf_laq as laq
from tf_laq import datasets, experiment
from tf_laq.attacks import PGD, registry
from tf_laq.attacks.pgd import PGD
from tf_laq._internal import files
from tf_laq.errors import InputError
import tf_laq.adapters.kernels
"""
    assert forbidden(source) == [
        "tf_laq.experiment", "tf_laq.attacks.registry", "tf_laq.attacks.pgd.PGD", "tf_laq._internal.files",
        "tf_laq.adapters.kernels",
    ]  # fmt: skip
