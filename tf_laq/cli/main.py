"""The entry point of the command line: arguments in, exit code out."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_laq.cli.parsing import Command, Commands

EXIT_BAD_INPUT = 2

# TensorFlow reads this when it is imported, and prints some lines even so: both would bury the results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `laq`; None for the arguments of this process. See `run`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from tf_laq.version import __version__

        print(f"laq {__version__}")
        return 0
    from tf_laq.cli.commands import COMMANDS

    return run(COMMANDS, arguments, name="laq")


def run(commands: Commands, arguments: list[str], *, name: str) -> int:
    """Run the command that the arguments ask for.

    Bad input (arguments, files, settings) prints one line, "error: ...", on the standard error stream. Any
    other exception is a fault of the program and passes through.

    Args:
        commands: Name -> function; its docstring is the help, and its text arguments are taken as they are written.
        arguments: The arguments after the program's name: a command with its own.
        name: The program's name, for the help.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    from tf_laq._internal.messages import imported_quietly
    from tf_laq.cli.parsing import parse
    from tf_laq.errors import InputError

    command: Command | None = None
    try:
        call = parse(commands, arguments, name)
        if call is not None:
            command, bound = call
            with imported_quietly("tensorflow"), warnings.catch_warnings():
                warnings.showwarning = _show_warning
                command(*bound.args, **bound.kwargs)
    except BrokenPipeError:  # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:
        text = " ".join(str(error).split())
        print(f"error: {text if command is None else in_flags(text, command)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


_ALIASES = {"column": "attacks", "dataset": "data", "path": "out", "quantizer": "quantizers", "source": "data"}
"""What functions of the library call the argument that a flag stands for, where the two differ."""


def in_flags(text: str, command: Command) -> str:
    """Return an error of the library in the words of the command line: its arguments as the command has them.

    Example:
        >>> def quantize(model: str, max_bits: int = 8, overwrite: bool = False): ...
        >>> in_flags("max_bits: expected 8. Received: 9. Set overwrite=True.", quantize)
        '--max_bits: expected 8. Received: 9. Set --overwrite.'
        >>> in_flags("model: expected logits. Received: probabilities.", quantize)
        'MODEL: expected logits. Received: probabilities.'
        >>> def evaluate(models: str, outputs: str = ""): ...
        >>> in_flags("Give Classifier(model, outputs='probabilities').", evaluate)
        'Give --outputs probabilities.'
    """
    parameters = inspect.signature(command).parameters
    flags = {
        name: name.upper() if parameter.default is parameter.empty else f"--{name}"
        for name, parameter in parameters.items()
    }
    named = {alias: flags[name] for alias, name in _ALIASES.items() if name in flags} | flags
    text = re.sub(r"^\w+(?=:|\[| for )", lambda found: named.get(found[0], found[0]), text)
    text = re.sub(r"\b(\w+)=True\b(?: \(--\1\))?", lambda found: flags.get(found[1], found[0]), text)
    setting = r"Classifier\(model, (\w+)='?([^')]*)'?\)"
    text = re.sub(setting, lambda found: f"{flags[found[1]]} {found[2]}" if found[1] in flags else found[0], text)
    # A word without an underscore is as a rule no argument, and one in quotes or in a path is the user's.
    argument = r"(?<![\w./'\"-])\w+_\w+(?![\w=/'\"]|\.\w)"
    return re.sub(argument, lambda found: flags.get(found[0], found[0]), text)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: Any = None,
) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=file or sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
