"""What is wrong with arguments is said at once, in the words of the command line; what is there is not replaced."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tf_laq.cli import evaluation, quantization
from tf_laq.cli.main import in_flags
from tf_laq.version import __version__

RUN = """
import sys
from tf_laq.cli.main import main
code = main(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


@pytest.fixture
def without_tensorflow(saved, tmp_path):
    """Return a function that runs a command line, in which SAVED is a model, in a process without TensorFlow."""
    (tmp_path / "there.keras").touch()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", RUN, *(each.replace("SAVED", str(saved)) for each in arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantise"], "Did you mean quantize?"),
        (["train", "--data", "mnits"], "data set mnits: expected its prepared files"),
        (["train", "--recipe", "slow"], "--recipe for digits: expected one of"),
        (["train", "--out", "there.keras", "--keras", "4"], "--keras: expected one of 2, 3"),
        (["quantize", "none.keras"], "none.keras: expected a saved Keras model. Received: no such file."),
        (["quantize", "there.keras"], "there.keras: expected a model saved by Keras"),
        (["quantize", "SAVED", "--out", "q.h5"], "--out: expected a file name that ends in .keras"),
        (["quantize", "SAVED", "--out", "there.keras"], "there.keras, which is there"),
        (["quantize", "SAVED", "--policy", "gaurded"], "--policy: expected one of guarded"),
        (["quantize", "SAVED", "--policy", "hawq", "--average_bits", "3"], "--data: expected a value"),
        (["quantize", "SAVED", "--norm", "l7"], "--norm: expected one of spectral, inf"),
        (["quantize", "SAVED", "--overrides", '{"*": "linear:99"}'], "--overrides['*']: expected"),
        (["evaluate", "SAVED", "--preset", "hard"], "--preset: expected one of standard"),
        (["evaluate", "SAVED", "--attacks", "deepfool"], "--attacks: expected one of clean"),
        (["evaluate", "SAVED", "--workers", "0"], "--workers: expected a whole number of at least 1"),
        (["compress", "SAVED", "--workers", "0"], "--workers: expected a whole number of at least 1"),
        (["evaluate", "SAVED,b=none.tflite"], "none.tflite: expected a readable TensorFlow Lite file"),
        (["evaluate", "SAVED", "--surrogates", "none.keras"], "none.keras: expected"),
        (["evaluate", "SAVED", "--bounds", "black,white"], "--bounds: expected numbers"),
        (["curve", "SAVED", "--attack", "deepfool"], "--attack: expected one of clean"),
        (["finetune", "SAVED", "none.json"], "none.json"),
        (["match", "SAVED", "none.keras"], "none.keras: expected a saved Keras model"),
        (["correct", "SAVED", "SAVED", "--images", "0"], "--images: expected a whole number"),
        (["recalibrate", "SAVED", "--data", "imagenet"], "data set imagenet: expected its prepared files"),
        (["export", "SAVED", "--layout", "tiny"], "--layout: expected one of int8, packed, auto"),
        (["export", "SAVED", "--min_runtime", "new"], '--min_runtime: expected a version such as "2.7"'),
        (["export", "SAVED", "--plan", "none.json"], "none.json"),
        (["inspect", "none.tflite"], "none.tflite: expected a readable TensorFlow Lite file"),
        (["pictures", "nowhere"], "nowhere: expected the adversarial examples of at least one model"),
        (["report", "nowhere"], "compression.json: expected the results of laq compress"),
        (["compress", "none.keras"], "none.keras: expected a saved Keras model"),
        (["compress", "SAVED", "--layout", "tiny"], "--layout: expected one of int8, packed, auto"),
        (["compress", "SAVED", "--preset", "hard"], "--preset: expected one of standard"),
        (["compress", "SAVED", "--data", "./"], "--epsilon: expected a radius such as 8/255"),
        (["compress", "SAVED", "--epsilon", "0.1", "--norm", "l7"], "--norm: expected one of linf, l2"),
        (["compress", "SAVED", "--epsilon", "0.1", "--preset", "paper"], "--preset: expected one of quick"),
        (["compress", "SAVED", "--max_loss", "abc"], "--max_loss: expected a finite number from 0 to 100"),
        (["compress", "SAVED", "--max_bytes", "0"], "--max_bytes: expected a whole number of at least 1"),
        (["compress", "SAVED", "--epochs", "3"], "--epochs: expected none without --fine_tune. Received: 3."),
        (["evaluate", "SAVED", "--epsilon", "8"], "--epsilon: expected at most 1 in L-inf"),
        (["train", "--recipe", "plain", "--epsilon", "0.1"], "--epsilon: expected none for the recipe plain"),
        (
            ["quantize", "SAVED", "--size", "96"],
            "--size: expected none without --data. Received: '96'. Give --data too",
        ),
        (["quantize", "SAVED", "--download"], "--download: expected none without --data"),
        (["recalibrate", "SAVED", "--norm", "linf"], "--norm: expected none without --float_twin"),
        (["recalibrate", "SAVED", "--seed", "0"], "--seed: expected none without --float_twin"),
        (["demo", "--preset", "hard"], "--preset: expected one of standard"),
        (["demo", "--data", "fashion_mnist"], "--data: expected one of cifar10, digits, mnist"),
        (["demo", "--max_loss", "abc"], "--max_loss: expected a finite number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_with_arguments_is_said_before_tensorflow_is_imported(arguments, message, without_tensorflow):
    done = without_tensorflow(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("quantize", "--help"), ("--", "--completion")])
def test_version_help_and_completion_need_no_tensorflow(arguments, without_tensorflow):
    done = without_tensorflow(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    if arguments == ("--version",):
        assert done.stdout == f"laq {__version__}\n"


def test_help_is_as_wide_as_the_terminal(monkeypatch, laq_command):
    for width in (60, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = laq_command("quantize", "--help")[1].splitlines()
        assert width - 15 < max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (quantization.quantize, "quantizer: expected one of", "--quantizers: expected one of"),
        (quantization.quantize, "path: expected a place", "--out: expected a place"),
        (quantization.quantize, "max_bits: expected 3. Received: 4.", "--max_bits: expected 3. Received: 4."),
        (quantization.quantize, "model: expected one", "MODEL: expected one"),
        (quantization.quantize, "model 'a': expected one", "model 'a': expected one"),
        (quantization.quantize, "overrides['a']: expected", "--overrides['a']: expected"),
        (quantization.quantize, "max_bits/a.keras: expected b/max_bits.", "max_bits/a.keras: expected b/max_bits."),
        (evaluation.evaluate, "column: expected one of", "--attacks: expected one of"),
        (evaluation.evaluate, "folder a: set overwrite=True to begin", "folder a: set --overwrite to begin"),
        (
            evaluation.evaluate,
            "Give Classifier(model, data_format='channels_first').",
            "Give --data_format channels_first.",
        ),
        (
            quantization.quantize,
            "Give Classifier(model, data_format='channels_first').",
            "Give Classifier(model, data_format='channels_first').",
        ),
        (evaluation.evaluate, "load it with download=True (--download)", "load it with --download"),
    ],
)
def test_errors_name_an_argument_as_the_command_line_does(command, text, expected):
    assert in_flags(text, command) == expected


def test_the_shell_completes_commands_and_flags(without_tensorflow, tmp_path):
    script = tmp_path / "laq.bash"
    script.write_text(without_tensorflow("--", "--completion").stdout)
    complete = """
        source laq.bash
        complete -p laq
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _complete-laq; echo "${COMPREPLY[*]}"; }
        try laq quan
        try laq quantize --max
        try laq quantize there
        try laq quantize there.keras --policy budget --average
        try laq train --policy
    """
    done = subprocess.run(
        [shutil.which("bash"), "-c", complete], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # With `-o default` the shell goes on to file names where there is nothing to complete.
    assert done.stdout.splitlines() == [
        "complete -o default -F _complete-laq laq", "quantize", "--max-bits --max-bytes", "",
        "--average-bits", "",
    ]  # fmt: skip


def test_native_messages_of_tensorflow_are_hidden_whenever_it_is_imported(tmp_path):
    program = "import sys\nfrom tf_laq.cli.main import run\ndef f(): import tensorflow\nrun({'f': f}, ['f'], name='p')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        (["quantize", "SAVED"], "quantized.keras"),
        (["quantize", "SAVED"], "quantized.plan.json"),
        (["match", "SAVED", "SAVED"], "matched.keras"),
        (["correct", "SAVED", "SAVED"], "corrected.keras"),
        (["recalibrate", "SAVED"], "recalibrated.keras"),
        (["train"], "model.keras"),
        (["export", "SAVED", "--plan", "float32"], "model.tflite"),
        (["export", "SAVED", "--plan", "float32"], "model.export.json"),
        (["export", "SAVED", "--plan", "float32", "--compress", "xz"], "model.tflite.xz"),
        (["pictures", "."], "examples.png"),
        (["curve", "SAVED"], "curve/curve.json"),
        (["evaluate", "SAVED"], "evaluation/report.html"),
        (["demo"], "results/report.html"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_is_there_is_not_replaced(arguments, there, saved, tmp_path, monkeypatch, laq_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    code, output, errors = laq_command(*(each.replace("SAVED", str(saved)) for each in arguments))
    assert (code, output) == (2, "")
    assert "--overwrite." in errors
    assert (tmp_path / there).read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]


def test_overwrite_replaces_what_is_there(saved, tmp_path, laq_command):
    out = tmp_path / "q.keras"
    out.write_text("mine")
    assert laq_command("quantize", saved, "--out", out, "--overwrite")[0] == 0
    assert out.read_bytes().startswith(b"PK")


@pytest.mark.slow
def test_the_same_training_is_used_again_and_another_needs_overwrite(tmp_path, laq_command):
    arguments = ("train", "--recipe", "plain", "--out", tmp_path / "m.keras")
    assert laq_command(*arguments)[0] == 0
    assert "Use the model trained earlier" in laq_command(*arguments)[1]
    code, _, errors = laq_command(*arguments, "--seed", 1)
    assert (code, "m.keras, which was not. Choose another name, or set --overwrite." in errors) == (2, True)
    assert laq_command(*arguments, "--seed", 1, "--overwrite")[0] == 0


def test_a_demo_goes_on_in_the_folder_of_the_same_command_only(tmp_path):
    from tf_laq.cli.checks import check_same_command
    from tf_laq.errors import InputError

    check_same_command(tmp_path, "laq demo --seed 0", overwrite=False)
    (tmp_path / "compression.json").write_text(json.dumps({"command": "laq demo --seed 0"}))
    check_same_command(tmp_path, "laq demo --seed 0", overwrite=False)
    check_same_command(tmp_path, "laq demo --seed 1", overwrite=True)
    for other in (b'{"command": "laq demo --seed 0"}', b'{"command": ', b'["laq demo --seed 1"]', b"\xff"):
        (tmp_path / "compression.json").write_bytes(other)
        with pytest.raises(InputError, match=r"out: expected a new folder, or one of the same .*compression\.json"):
            check_same_command(tmp_path, "laq demo --seed 1", overwrite=False)


def test_the_line_of_a_command_by_hand_has_all_its_arguments():
    from tf_laq.cli.commands import COMMANDS
    from tf_laq.cli.parsing import command_line, parse

    flags = "--out 1e5 --bounds -1,1 --size 96 --max_loss 0.5 --fine_tune"
    command, bound = parse(COMMANDS, ["compress", "my model.keras", *flags.split()], "laq")
    bound.apply_defaults()
    line = command_line(command, bound.arguments)
    again = parse(COMMANDS, shlex.split(line)[1:], "laq")[1]
    again.apply_defaults()
    assert again.arguments == bound.arguments
    assert (line.count("--"), "'my model.keras'" in line) == (flags.count("--"), True)
