"""The entry point of the command line: arguments in, exit code out."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

EXIT_BAD_INPUT = 2

Call = Callable[[], object]
Commands = Mapping[str, Callable[..., object]]

# TensorFlow reads this when it is imported, and prints some lines even so: both would bury the results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `laq`; None for the arguments of this process. See `run`."""
    from tf_laq.cli.commands import COMMANDS

    return run(COMMANDS, list(sys.argv[1:] if argv is None else argv), name="laq")


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
    from tf_laq._internal.messages import without_native_messages
    from tf_laq.errors import InputError

    try:
        call = _parse(commands, arguments, name)
        if call is not None:
            with without_native_messages():
                import tensorflow  # noqa: F401
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                call()
    except BrokenPipeError:  # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _parse(commands: Commands, arguments: list[str], program: str) -> Call | None:
    """Return the command that the arguments ask for, ready to be called; None if help was printed instead.

    Fire would call the command before it looks at the arguments that are left over, so it gets stand-ins.
    """
    import fire

    from tf_laq.errors import InputError

    calls: list[Call] = []
    stand_ins = {name: _stand_in(command, calls) for name, command in commands.items()}
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(messages):
            fire.Fire(stand_ins, command=arguments or ["--help"], name=program)
    except fire.core.FireExit as stop:
        if stop.code:
            raise InputError(
                "command line",
                expected=f"one of the commands {', '.join(stand_ins)} with its arguments",
                received=_complaint(messages.getvalue()),
                remedy="See --help.",
            ) from stop
    if not calls:
        print(_help(messages.getvalue()))
        return None
    return calls[0]


def _stand_in(command: Callable[..., object], calls: list[Call]) -> Callable[..., None]:
    """Return a function with the command's signature and help that only notes the call."""
    import fire

    from tf_laq import quantizers

    signature = inspect.signature(command)
    texts = [name for name, parameter in signature.parameters.items() if "str" in str(parameter.annotation)]

    @functools.wraps(command)
    def note(*values: Any, **named: Any) -> None:
        bound = signature.bind(*values, **named)
        calls.append(functools.partial(_checked, command, texts, bound))

    note.__doc__ = (command.__doc__ or "").replace("<quantizers>", ", ".join(quantizers.names()))
    # Otherwise Fire would read a path such as 1e5 as a number.
    fire.decorators.SetParseFns(**dict.fromkeys(texts, str))(note)
    return note


def _checked(command: Callable[..., object], texts: list[str], bound: inspect.BoundArguments) -> object:
    """Call the command after refusing flags without their value, which Fire turns into "True"."""
    from tf_laq.errors import InputError

    for name in texts:
        if bound.arguments.get(name) in ("True", "False"):
            raise InputError(f"--{name}", expected="a value", received="none")
    return command(*bound.args, **bound.kwargs)


def _complaint(text: str) -> str:
    """Return the line of Fire's usage message that says what is wrong."""
    lines = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return lines[0].removeprefix("ERROR: ") if lines else "arguments that do not fit"


def _help(text: str) -> str:
    """Return Fire's help without the line about how it was asked for and what Fire keeps in the stand-ins."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("INFO: "))
    return re.sub(r"GROUPS\n.*?FIRE_METADATA\n*| GROUP \|", "", lines, flags=re.DOTALL).strip()


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
