from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Return the path of a saved float model for the digits."""
    from tf_laq import models
    from tf_laq.saving import save_model

    path = tmp_path_factory.mktemp("models") / "float.keras"
    save_model(models.build("digits_cnn", seed=5, width=2), path)
    return path


@pytest.fixture
def laq_command(capsys):
    """Return a function that runs a command line and returns its exit code, output and error output."""
    from tf_laq.cli.main import main

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def refusal(saved, tmp_path, monkeypatch, laq_command):
    """Return a function that runs a command line with bad input, in which SAVED is a model, and returns the error."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        code, output, errors = laq_command(*(argument.replace("SAVED", str(saved)) for argument in arguments))
        assert (code, output) == (2, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert not list(tmp_path.iterdir())
        return errors

    return run
