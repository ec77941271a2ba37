"""The scripts `reproduce` and `sensitivity`."""

import os
import subprocess
import sys

import pytest

import tf_laq as laq
from research.commands import COMMANDS, main


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the path of a saved float model for the digits."""
    path = tmp_path_factory.mktemp("models") / "small.keras"
    laq.save_model(laq.models.build("digits_cnn", seed=5, width=2), path)
    return path


@pytest.fixture
def command(capsys):
    """Return a function that runs a command and returns its exit code, output and error output."""

    def run(name, *arguments):
        code = main(name, [str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_reproduce_writes_the_page_of_a_table_from_networks_by_role(saved, tmp_path, command):
    plan = laq.uniform(laq.load_model(saved), "log", 4)
    plan.save(tmp_path / "plan.json")
    arguments = ("--dataset", "digits", "--out", tmp_path / "o", "--cache", tmp_path / "c", "--models", f"adv={saved}")
    code, output, errors = command("reproduce", "table5", *arguments, "--plans", f"four={tmp_path / 'plan.json'}")
    assert (code, errors) == (0, "")
    assert "No network in the role twin" in output
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "README.md",
        "digits_table5.csv",
        "digits_table5.md",
    }
    code, _, errors = command("reproduce", "table2", *arguments)
    assert (code, errors.startswith("error: --what: expected one of table1, table3")) == (2, True)


def test_sensitivity_runs_on_a_file(saved, tmp_path, command):
    code, output, errors = command(
        "sensitivity", saved, "--dataset", "digits", "--out", tmp_path / "out", "--cache", tmp_path / "c",
        "--quantizers", "linear", "--bits", 2, "--max_settings", 1, "--examples", 3, "--steps", 1, "--queries", 2,
        "--epsilon", 0.02, "--calibration", 2,
    )  # fmt: skip
    assert (code, errors) == (0, "")
    assert "small_sensitivity.md" in output
    page = (tmp_path / "out" / "small_sensitivity.md").read_text()
    assert "1 of 4 kernels, 1 settings" in page
    assert f"Made by `python scripts/sensitivity.py {saved} --dataset digits --quantizers linear --bits 2" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sensitivity", "some.keras"], "dataset: expected a data set for"),
        (["sensitivity", "some.keras", "--dataset", "digits"], "some.keras: expected a saved Keras model"),
        (["sensitivity", "mnist_adv", "--bits", "few"], "bits: expected whole numbers"),
        (["sensitivity", "mnist_adv", "--bitz", "3"], "expected one of its flags. Received: --bitz."),
        (["reproduce", "table9"], "what: expected one of table1"),
        (["reproduce", "--models", "adv="], "models: expected paths, or name=path"),
        (["reproduce", "--models", "adviser.keras"], "adviser.keras: expected a saved Keras model"),
        (["reproduce", "--plans", "a=1.json,a=2.json"], "plans: expected paths, or name=path, each name once"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, output, errors = command(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not list(tmp_path.iterdir())


def test_help_names_the_script_and_its_arguments(command):
    for name in COMMANDS:
        code, output, _ = command(name, "--help")
        assert code == 0
        assert f"python scripts/{name}.py" in output
        assert "--dataset" in output
        assert "FIRE" not in output
    assert "Quantizers to try (linear, log" in command("sensitivity", "--help")[1]


def test_a_script_finds_the_folder_from_anywhere(request, tmp_path):
    script = request.config.rootpath / "scripts" / "reproduce.py"
    done = subprocess.run(
        [sys.executable, script, "table9"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(request.config.rootpath)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --what: expected one of table1")
