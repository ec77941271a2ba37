"""Why a file is no Keras model that can be loaded: the cause in Keras' own words, and what to do about it."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from tf_laq._internal import hdf5, limits
from tf_laq.errors import InputError

EXPECTED = "a model saved by Keras: a .keras or .h5 file, or a SavedModel folder of Keras 2"

_LONGEST = 300

# What Keras puts around the cause: where it was, and with which arguments.
_AROUND = re.compile(
    r"File \"|in user code|Traceback|Exception encountered when calling|(Call a|A)rguments received|[•*] "
    r"|Full object config|config="
)
# What Keras advises, in place of which the error has its own remedy.
_ADVICE = re.compile(r"Please ensure |Make sure custom |If `\w+` is a custom |If you trust |Full object config")
_UNKNOWN = re.compile(
    r"(?:Could not locate (?:class|function) |Unknown [\w ]+: |Cannot deserialize object of type )['`]([^'`]+)['`]"
)
_FUNCTION = re.compile(r"Unknown activation function '\{.*'config': '([^']+)'")
# Keras 2 takes the name of a class that it does not know for the layer.
_NAME_FOR_LAYER = re.compile(r"'str' object is not callable|of type <class 'str'>")
_ARGUMENTS = re.compile(
    r"Unrecognized keyword arguments|unexpected keyword argument|Keyword argument not understood"
    r"|missing \d+ required .*argument"
)


@dataclasses.dataclass(frozen=True)
class Remedies:
    """What to do about a model that is not loaded unasked, in the words of the place where it is asked for.

    Attributes:
        unknown: For a class or function that Keras does not know; its name takes the place of {name}.
        unsafe: For what would run code that is in the file.
    """

    unknown: str
    unsafe: str


def check_content(path: Path) -> None:
    """Raise an `InputError` if a path is no file or folder of a kind that Keras loads, or is cut off.

    Raises:
        InputError: The same.
    """
    cut_off = "It may be truncated: copy the file again, or save the model again."
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise InputError(str(path), expected=EXPECTED, received="a folder without saved_model.pb")
        return
    with path.open("rb") as file:
        start = file.read(8)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            limits.check(str(path), sum(member.file_size for member in archive.infolist()))
            if "config.json" not in archive.namelist():
                raise InputError(str(path), expected=EXPECTED, received="a zip archive without config.json")
        if not path.name.endswith(".keras"):  # By its name Keras would look for another kind of content.
            received = "a .keras file under another name"
            raise InputError(
                str(path), expected=EXPECTED, received=received, remedy="Rename it so that it ends in .keras."
            )
    elif start.startswith(b"PK"):
        raise InputError(str(path), expected=EXPECTED, received="the start of a .keras file", remedy=cut_off)
    elif start == b"\x89HDF\r\n\x1a\n":
        _check_hdf5(path, cut_off)
    else:
        received = "a file that is neither .keras nor HDF5" if start else "an empty file"
        raise InputError(str(path), expected=EXPECTED, received=received, remedy="" if start else cut_off)


def _check_hdf5(path: Path, cut_off: str) -> None:
    import h5py

    try:
        hdf5.check(path)
        with h5py.File(path) as file:
            whole = "model_config" in file.attrs
    except InputError:
        raise
    except Exception as error:  # h5py has an error of its own for each kind of damage.
        received = f"a damaged HDF5 file ({error})"
        raise InputError(str(path), expected=EXPECTED, received=received, remedy=cut_off) from error
    if not whole:
        raise InputError(
            str(path),
            expected=EXPECTED,
            received="an HDF5 file without the configuration of a model",
            remedy="If it holds only weights, build the model and call model.load_weights.",
        )


def explained(
    path: Path, error: Exception, saved_by: str, installed: str, known: Collection[str], remedies: Remedies
) -> InputError:
    """Return the error to raise for one that Keras raised while it loaded a file.

    Args:
        path: The file.
        error: What Keras raised.
        saved_by: The version of Keras that saved it; empty if it is not known.
        installed: The version of Keras that is loading it.
        known: The names of the custom classes and functions that Keras knows.
        remedies: For the two causes whose remedy is an argument of the caller.
    """
    text, reason = str(error), summary(error)
    unknown = _unknown(text)
    if _NAME_FOR_LAYER.search(text):
        unknown = _first_unknown(path, known)
        reason = f"Unknown layer: '{unknown}'" if unknown else reason
    if unknown == "function":
        remedy = "Keras 2 loads no functions of your own from .h5 files: save the model as .keras."
    elif unknown:
        remedy = remedies.unknown.format(name=unknown)
    elif "safe_mode=False" in text or "enable_unsafe_deserialization" in text:
        remedy = remedies.unsafe
    elif isinstance(error, zipfile.BadZipFile):
        remedy = "The file is damaged: copy it again, or save the model again."
    elif saved_by and _release(saved_by) != _release(installed):
        remedy = f"Keras {saved_by} saved it: load it with that version."
    elif "never built" in text:
        remedy = "A layer of your own needs a method build that builds the layers in it."
    elif _ARGUMENTS.search(text):
        remedy = "get_config of a custom class must return what its __init__ takes, and nothing else."
    else:
        remedy = "Keras' own load_model gives the whole message."
    received = f"something that Keras {installed} cannot load ({reason})"
    return InputError(str(path), expected=EXPECTED, received=received, remedy=remedy)


def _unknown(text: str) -> str | None:
    """Return the name of the class or function that an error of Keras calls unknown, or None."""
    found = _FUNCTION.search(text) or _UNKNOWN.search(text)
    return found[1].split(">")[-1] if found else None


def _first_unknown(path: Path, known: Collection[str]) -> str | None:
    """Return the first custom class in a `.keras` file that is not known, or None."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = re.findall(r'"registered_name": "([^"]+)"', archive.read("config.json").decode())
    bare = [name.split(">")[-1] for name in names if name not in known]
    return next((name for name in bare if name not in known and name != "function"), None)


def summary(error: Exception) -> str:
    r"""Return what an error of Keras says, in one line, without tracebacks, arguments and configurations.

    Example:
        >>> summary(ValueError("Could not locate class 'A'.\n\nFull object config: {'module': None}"))
        "Could not locate class 'A'"
    """
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    # Errors inside of errors: the last one is the cause.
    text = text.rsplit("Exception encountered: ", 1)[-1]
    lines = [line for line in map(str.strip, text.splitlines()) if line and not _AROUND.match(line)]
    text = _ADVICE.split(_without_dictionaries(" ".join(lines)))[0].rstrip(". ") or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rsplit(' ', 1)[0]} ..."


def _without_dictionaries(text: str) -> str:
    """Return a text with {...} for everything in braces."""
    while (shorter := re.sub(r"\{[^{}]*\}", "\0", text)) != text:
        text = shorter
    return text.replace("\0", "{...}")


def _release(version: str) -> list[str]:
    return version.split(".")[:2]
