from .compression import write_compression as write_compression
from .html import write_report as write_report
from .pictures import draw_examples as draw_examples
from .plots import (
    PALETTE as PALETTE,
    draw_curve as draw_curve,
    draw_plots as draw_plots,
    panels as panels,
    png as png,
)
from .sizes import ModelSize as ModelSize, size_table as size_table
