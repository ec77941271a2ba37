"""Plots, tables and the HTML page, all drawn from saved results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_laq.report.sizes import ModelSize, size_table

if TYPE_CHECKING:
    from tf_laq.report.html import write_report
    from tf_laq.report.pictures import draw_examples
    from tf_laq.report.plots import draw_plots

__all__ = ["ModelSize", "draw_examples", "draw_plots", "size_table", "write_report"]

# Matplotlib and Jinja2 are imported when something is drawn.
_LAZY = {"draw_examples": "pictures", "draw_plots": "plots", "write_report": "html"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"tf_laq.report.{_LAZY[name]}"), name)
