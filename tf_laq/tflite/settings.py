"""The settings of an export that are checked without a model."""

from __future__ import annotations

from typing import Literal, get_args

from tf_laq._internal.validation import one_of
from tf_laq.errors import InputError
from tf_laq.tflite.encodings import LAYOUTS
from tf_laq.tflite.graph import version_key

Compression = Literal["gz", "xz"]


def check_settings(layout: str, compress: str | None, min_runtime: str | None) -> None:
    """Refuse a layout, a compression or a runtime that there is none of.

    Raises:
        InputError: The same.
    """
    one_of("layout", layout, LAYOUTS)
    if compress is not None:
        one_of("compress", compress, get_args(Compression))
    if min_runtime is not None and not (isinstance(min_runtime, str) and version_key(min_runtime)):
        raise InputError("min_runtime", expected='a version such as "2.7"', received=repr(min_runtime))
