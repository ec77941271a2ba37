"""scripts/ has every command of `laq` as a file."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from tf_laq.cli.commands import COMMANDS


@pytest.fixture(scope="module")
def scripts(request):
    return request.config.rootpath / "scripts"


@pytest.fixture
def run(scripts):
    """Return a function that runs a script as a process."""

    def start(name, *arguments):
        return subprocess.run(
            [sys.executable, str(scripts / name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(scripts.parent)},
        )

    return start


def command_of(path):
    """Return what a script puts before its own arguments, in the only list that it has."""
    lists = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.List)]
    return [found.elts[0].value for found in lists]


def test_every_command_has_a_script_of_its_name(scripts):
    names = {name: "inspect_tflite" if name == "inspect" else name for name in COMMANDS}
    found = {path.stem: command_of(path) for path in scripts.glob("*.py") if path.stem in names.values()}
    assert found == {script: [name] for name, script in names.items()}


def test_no_script_hides_a_module_of_python(scripts):
    assert not {path.stem for path in scripts.glob("*.py")} & sys.stdlib_module_names


@pytest.mark.parametrize(("name", "flag"), [("quantize.py", "--policy"), ("inspect_tflite.py", "PATH")])
def test_a_script_explains_its_arguments(run, name, flag):
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert flag in done.stdout


def test_a_failing_script_prints_one_line_and_no_traceback(run):
    done = run("export.py", "none.keras")
    assert done.returncode == 2
    assert done.stderr == "error: none.keras: expected a saved Keras model. Received: no such file.\n"
    assert done.stdout == ""
