"""How a command line is read: the command and its arguments, the help, and what to say of a word that is not known."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import io
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tf_laq._internal.messages import terminal_width
from tf_laq.errors import InputError

Command = Callable[..., object]
Commands = Mapping[str, Command]
Call = tuple[Command, inspect.BoundArguments]

_OF_FILES = ("overwrite", "retrain", "download")


def parse(commands: Commands, arguments: list[str], program: str) -> Call | None:
    """Return the command that the arguments ask for with its arguments; None if help was printed instead.

    Raises:
        InputError: There is no such command, or its arguments do not fit.
    """
    import fire

    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        raise InputError(
            "command",
            expected=f"one of {', '.join(commands)}",
            received=repr(arguments[0]),
            remedy=_nearest(arguments[0], commands),
        )
    calls: list[Call] = []
    # Fire would call the command before it looks at the arguments that are left over, so it gets stand-ins.
    stand_ins = {name: _stand_in(command, calls) for name, command in commands.items()}
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(messages):
            fire.Fire(stand_ins, command=arguments or ["--help"], name=program)
    except fire.core.FireExit as stop:
        if stop.code:
            raise _refusal(commands, arguments[0], program, _complaint(messages.getvalue())) from stop
    if not calls:
        print(_completion(messages.getvalue()) if "--completion" in arguments else _help(messages.getvalue()))
        return None
    command, bound = calls[0]
    _check_values(bound)
    return command, bound


def command_line(command: Command, arguments: Mapping[str, Any]) -> str:
    """Return the line that makes the same results by hand: a command and its arguments that are not the defaults.

    What only says which files to replace or to fetch is left out.

    Example:
        >>> def compress(model: str, out: str = "results", seed: int = 0, overwrite: bool = False): ...
        >>> command_line(compress, {"model": "my model.keras", "out": "results", "seed": 1, "overwrite": True})
        "laq compress 'my model.keras' --seed 1"
    """
    words = ["laq", command.__name__]
    for name, parameter in inspect.signature(command).parameters.items():
        value = arguments[name]
        if value == parameter.default or name in _OF_FILES:
            continue
        words += [] if parameter.default is parameter.empty else [f"--{name}"]
        words += [] if value is True else [shlex.quote(str(value))]
    return " ".join(words)


def _stand_in(command: Command, calls: list[Call]) -> Callable[..., None]:
    """Return a function with the command's signature and help that only notes the call."""
    import fire

    from tf_laq import quantizers

    signature = inspect.signature(command)

    @functools.wraps(command)
    def note(*values: Any, **named: Any) -> None:
        calls.append((command, signature.bind(*values, **named)))

    note.__doc__ = (command.__doc__ or "").replace("<quantizers>", ", ".join(quantizers.names()))
    # Otherwise Fire would read a path such as 1e5 as a number.
    fire.decorators.SetParseFns(**dict.fromkeys(_of_type(signature, "str"), str))(note)
    return note


def _of_type(signature: inspect.Signature, kind: str) -> list[str]:
    return [name for name, parameter in signature.parameters.items() if kind in str(parameter.annotation)]


def _check_values(bound: inspect.BoundArguments) -> None:
    """Refuse texts without their value, which Fire turns into "True", and switches with one."""
    for name in _of_type(bound.signature, "str"):
        if bound.arguments.get(name) in ("True", "False"):
            raise InputError(f"--{name}", expected="a value", received="none")
    for name in _of_type(bound.signature, "bool"):
        value = bound.arguments.get(name, False)
        if not isinstance(value, bool):
            remedy = "Put it after the arguments without a flag."
            raise InputError(f"--{name}", expected="no value", received=repr(value), remedy=remedy)


def _refusal(commands: Commands, name: str, program: str, complaint: str) -> InputError:
    """Return the error to raise for arguments of which Fire complains."""
    asked = f"{program} {name}" if name in commands else program
    parameters = inspect.signature(commands[name]).parameters if name in commands else {}
    unknown = complaint.removeprefix("Could not consume arg: ")
    if unknown == complaint or not unknown.startswith("-"):
        in_place = [_shown(parameter) for parameter in parameters.values() if parameter.kind != parameter.KEYWORD_ONLY]
        in_place = in_place if name in commands else ["COMMAND"]
        expected = " ".join([*in_place, "<flags>"])
        is_left_over = unknown != complaint and "models" in parameters
        hint = "Separate models, and what else is a list, by commas without spaces." if is_left_over else ""
    else:
        expected = "one of its flags"
        word = unknown.lstrip("-").partition("=")[0].replace("-", "_")
        hint = _nearest(word, parameters, "--")
    return InputError(asked, expected=expected, received=unknown, remedy=f"{hint} See {asked} --help.".lstrip())


def _shown(parameter: inspect.Parameter) -> str:
    """Return an argument without a flag as help shows it."""
    return parameter.name.upper() if parameter.default is parameter.empty else f"[{parameter.name.upper()}]"


def _nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the question whether the most similar word was meant; empty if none is similar."""
    similar = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {prefix}{similar[0]}?" if similar else ""


def _complaint(text: str) -> str:
    """Return the line of Fire's usage message that says what is wrong."""
    lines = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return lines[0].removeprefix("ERROR: ") if lines else "arguments that do not fit"


def _completion(text: str) -> str:
    """Return Fire's script for the shell, which then knows the command after other words, and names of files."""
    script = text.replace("for ((i=0; i < ${#COMP_WORDS[@]}; ++i))", "for ((i=0; i < 2; ++i))")
    return script.replace("\ncomplete -F", "\ncomplete -o default -F").strip()


def _help(text: str) -> str:
    """Return Fire's help as wide as the terminal, without how it was asked for and what Fire keeps in the stand-ins."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("INFO: "))
    lines = re.sub(r"GROUPS\n.*?FIRE_METADATA\n*| GROUP \|", "", lines, flags=re.DOTALL).strip()
    lines = re.sub(r"Type: (?:Optional\[)?'(\w+)(?: \| None')?.*", r"Type: \1", lines)
    width = terminal_width()
    return "\n".join(_wrapped(line, width) for line in lines.splitlines())


def _wrapped(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, max(width, len(indent) + 20), subsequent_indent=indent, break_on_hyphens=False) or line
