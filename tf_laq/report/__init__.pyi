from .compression import write_compression as write_compression
from .html import write_report as write_report
from .pictures import draw_examples as draw_examples
from .plots import (
    PALETTE as PALETTE,
    draw_accuracy as draw_accuracy,
    draw_curve as draw_curve,
    panels as panels,
    png as png,
)
