"""TensorFlow Lite files: written from Keras models, checked against the models, and run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.tflite.report import ExportError, ExportReport, Parity, Performance, TensorExport

if TYPE_CHECKING:
    from tf_laq.tflite.contents import FileContents, StoredTensor, inspect
    from tf_laq.tflite.export import export_tflite
    from tf_laq.tflite.running import TFLiteModel, load

__all__ = [
    "ExportError",
    "ExportReport",
    "FileContents",
    "Parity",
    "Performance",
    "StoredTensor",
    "TFLiteModel",
    "TensorExport",
    "export_tflite",
    "inspect",
    "load",
]

# These import TensorFlow and the TensorFlow Lite runtime.
_LAZY = {
    "FileContents": "contents",
    "StoredTensor": "contents",
    "TFLiteModel": "running",
    "export_tflite": "export",
    "inspect": "contents",
    "load": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"tf_laq.tflite.{_LAZY[name]}"), name)
