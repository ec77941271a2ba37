"""Results that are saved as versioned JSON: one way to write, read and refuse them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from tf_laq._internal import files
from tf_laq.errors import InputError


class Document:
    """A result, a frozen dataclass, that round-trips through JSON.

    The file is one object with the fields `document` (the kind), `version` and those of `to_dict`. A subclass
    raises `version` whenever an older reader would misread the file.
    """

    document: ClassVar[str]
    version: ClassVar[int]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-ready values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]  # Subclasses are dataclasses.

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Build the object from what `to_dict` returned."""
        return cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})  # type: ignore[arg-type]

    def to_json(self) -> str:
        """Return the document as JSON text."""
        content = {"document": self.document, "version": self.version, **self.to_dict()}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "text") -> Self:
        """Read a document from JSON text; `source` names it in errors.

        Raises:
            InputError: The text is not JSON, is another kind of document, has another version, or lacks fields.
        """
        expected = f"a whole {cls.document} document, version {cls.version}"
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                source,
                expected=expected,
                received=f"text that is not JSON ({error})",
                remedy="The file may be truncated: make it again.",
            ) from error
        if not isinstance(content, dict) or content.get("document") != cls.document:
            kind = content.get("document", "no such field") if isinstance(content, dict) else type(content).__name__
            raise InputError(source, expected=expected, received=f"document: {kind}")
        if content.get("version") != cls.version:
            raise InputError(
                source,
                expected=expected,
                received=f"version {content.get('version')}",
                remedy="Make it again with this version of tf_laq.",
            )
        try:
            return cls.from_dict(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                source,
                expected=expected,
                received=f"fields that do not fit ({error!r})",
                remedy="Make it again.",
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document to `path`, whole or not at all."""
        files.write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a document from `path`.

        Raises:
            InputError: There is no such file, or it does not hold this kind and version of document.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(str(path), expected=f"a readable {cls.document} document", received=f"{error}") from error
        return cls.from_json(text, source=str(path))
