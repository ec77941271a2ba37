"""Results that are saved as versioned JSON with a checksum: one way to write, read and refuse them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import typing
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from typing_extensions import Self

from tf_laq._internal import files, limits
from tf_laq.errors import InputError

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Size = Annotated[float, msgspec.Meta(ge=0)]
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]
Shape = Annotated[tuple[Count, ...], msgspec.Meta(max_length=32)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

Form = TypeVar("Form")

_CHECKSUM = "checksum"
# What Python makes of a text takes up to so many times the memory.
_EXPANSION = 20
_SHOWN = 80


class Document:
    """A result, a frozen dataclass, that round-trips through JSON.

    The file is one object with the fields `document` (the kind), `version`, `checksum` and those of `to_dict`. The
    checksum is the SHA-256 of all others; how the text is laid out does not matter to it. The types of the fields say
    what is read: those of this module have bounds. A subclass raises `version` whenever an older reader would misread
    the file, and names in `unsigned` the versions without a checksum that it reads nevertheless.
    """

    document: ClassVar[str]
    version: ClassVar[int]
    unsigned: ClassVar[tuple[int, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]  # Subclasses are dataclasses.

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Build the object from what `to_dict` returned.

        Raises:
            InputError: A field is missing or does not fit; the error names it.
        """
        if isinstance(content, dict):
            kinds = typing.get_type_hints(cls)
            content = {name: _read(name, value, kinds.get(name)) for name, value in content.items()}
        return convert(content, cls)

    def to_json(self) -> str:
        """Return the document as JSON text."""
        head, content = self._head, self.to_dict()
        signed = {**head, _CHECKSUM: _checksum({**head, **content}), **content}
        return json.dumps(signed, indent=1, allow_nan=False) + "\n"

    @property
    def checksum(self) -> str:
        """The SHA-256 of the kind, the version and all fields, as the file has it."""
        return _checksum({**self._head, **self.to_dict()})

    @property
    def _head(self) -> dict[str, Any]:
        return {"document": self.document, "version": self.version}

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "text") -> Self:
        """Read a document from JSON text; `source` names it in errors.

        Raises:
            InputError: The text is not JSON, is another kind of document, has another version, has fields that are
                missing or do not fit, or is not what was written.
        """
        expected = f"a whole {cls.document} document, version {cls.version}"
        content, found, checksum = _parsed(text, source, expected)
        if not isinstance(content, dict) or content.get("document") != cls.document:
            received = f"document: {content.get('document')}" if isinstance(content, dict) else _shown(content)
            raise InputError(source, expected=expected, received=received[:_SHOWN])
        version = content.get("version")
        if version not in (cls.version, *cls.unsigned):
            raise InputError(
                source,
                expected=expected,
                received=f"version {_shown(version)}",
                remedy="Make it again with this version of tf_laq.",
            )
        try:
            result = cls.from_dict(content)
        except InputError as error:
            raise error.within(source) from error
        if found != checksum and (found is not None or version not in cls.unsigned):
            raise InputError(
                source,
                expected=f"{expected}, with the checksum of its content",
                received="no checksum" if found is None else "other content than was written: damaged, or edited",
                remedy="Restore it or make it again. To change it, load it in Python and save it anew.",
            )
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document to `path`, whole or not at all."""
        files.write_text(path, self.to_json())

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file holds this document, undamaged."""
        try:
            return type(self).load(path).to_json() == self.to_json()
        except InputError:
            return False

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a document from `path`.

        Raises:
            InputError: There is no such file, or it does not hold this kind and version of document, as it was written.
        """
        try:
            with Path(path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                limits.check(str(path), _EXPANSION * size)
                text = file.read(size)
        except OSError as error:
            raise InputError(str(path), expected=f"a readable {cls.document} document", received=f"{error}") from error
        return cls.from_json(text, source=str(path))


def convert(content: Any, form: type[Form]) -> Form:
    """Return JSON-ready values as a dataclass.

    Raises:
        InputError: A value is missing, or not of the type and within the bounds that the dataclass declares for it; the
            error names it.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Plan:
        ...     bits: tuple[Positive, ...]
        >>> convert({"bits": [8, -8]}, Plan)
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: bits[1]: expected `int` >= 1. Received: -8.
    """
    try:
        return msgspec.convert(content, form)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        path = place.rstrip("`").rpartition("$")[2].removeprefix(".")
        if isinstance(error.__cause__, InputError):
            raise (error.__cause__.within(path) if path else error.__cause__) from error
        if path and message.startswith("Expected "):
            expected, received = message.removeprefix("Expected ").partition(", got ")[0], _at(content, path)
        else:
            expected, received = "all fields of the document", f"fields that do not fit ({message})"
        raise InputError(path or "content", expected=expected, received=received) from error


def _read(name: str, value: Any, kind: Any) -> Any:
    """Return the value of a field, which is read by its own class if it is a document."""
    if not isinstance(kind, type) or not issubclass(kind, Document):
        return value
    try:
        return kind.from_dict(value)
    except InputError as error:
        raise error.within(name) from error


def _parsed(text: str | bytes, source: str, expected: str) -> tuple[Any, Any, str]:
    """Return the content of a text, the checksum in it, and that of all the rest."""
    try:
        content = msgspec.json.decode(text)
        found = content.pop(_CHECKSUM, None) if isinstance(content, dict) else None
        # This goes as deep into the content as whatever follows.
        return content, found, _checksum(content)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            source,
            expected=expected,
            received=f"text that is not JSON ({error})",
            remedy="The file may be truncated: make it again.",
        ) from error


def _checksum(content: Any) -> str:
    """Return the SHA-256 of JSON-ready values, in whatever order their names are."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _at(content: Any, path: str) -> str:
    """Return what is at a path such as "entries[2].bits", for an error."""
    if "[...]" in path:  # Of a mapping, whose key is not told.
        return "something else"
    for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        content = content[name] if name else content[int(number)]
    return _shown(content)


def _shown(value: Any) -> str:
    """Return a value for an error, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
