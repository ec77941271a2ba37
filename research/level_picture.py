"""Draw the levels of every quantizer, for the guide: `python -m research.level_picture`.

The weights are the quantiles of a Laplace distribution, whose tails are about as heavy as those of trained kernels.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from research import files
from tf_laq import quantizers
from tf_laq.quantizers import Quantizer

PICTURE = Path(__file__).parents[1] / "docs" / "guide" / "quantizer_levels.svg"

_WEIGHTS = 2001
_BITS = (1, 2, 3, 4)
_LEFT, _WIDTH, _ROW, _TOP = 110, 520, 18, 64
_STYLE = "text{font:13px sans-serif;fill:#333}line{stroke:#3949ab;stroke-width:2}.axis{stroke:#aaa;stroke-width:1}"


def weights() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the weights that are quantized, scaled so that the largest is 1."""
    shares = np.linspace(-1.0, 1.0, _WEIGHTS + 2)[1:-1]
    quantiles = -np.sign(shares) * np.log1p(-np.abs(shares))
    return np.asarray(quantiles / quantiles.max())


def drawing() -> str:
    """Return the picture as SVG: how the weights are distributed, and a row of levels for each setting."""
    classes = [quantizers.quantizer_class(name) for name in quantizers.names()]
    settings = [[cls(bits) for bits in _BITS if cls.min_bits <= bits <= cls.max_bits] for cls in classes]
    rows = sum(map(len, settings)) + len(settings) / 2
    height = round(_TOP + rows * _ROW + 8)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" role="img" '
        'aria-label="The levels of each quantizer between the smallest and the largest weight of a kernel">',
        f"<style>{_STYLE}</style>",
        f'<rect width="100%" height="{height}" rx="6" fill="#fff"/>',
        _histogram(),
    ]
    y = float(_TOP)
    for of_one in settings:
        y += _ROW / 2
        for quantizer in of_one:
            parts += _row(quantizer, round(y), with_name=quantizer is of_one[0])
            y += _ROW
    return "\n".join([*parts, "</svg>", ""])


def _histogram() -> str:
    counts, edges = np.histogram(weights(), bins=52, range=(-1.0, 1.0))
    tops = 44 - 38 * counts / counts.max()
    points = [f"{_x(edge):.0f},{top:.0f}" for edge, top in zip(edges, tops, strict=False)]
    line = f'<polyline points="{" ".join(points)}" fill="none" stroke="#777"/>'
    return f'<text x="10" y="32">weights</text>{line}'


def _row(quantizer: Quantizer, y: int, *, with_name: bool) -> list[str]:
    name = f'<text x="10" y="{y + 5}">{escape(quantizer.name)}</text>' if with_name else ""
    levels = quantizer.encode(weights()).codebook
    ticks = "".join(
        f'<line x1="{_x(level):.1f}" y1="{y - 6}" x2="{_x(level):.1f}" y2="{y + 6}"/>' for level in levels.tolist()
    )
    axis = f'<line class="axis" x1="{_x(-1)}" y1="{y}" x2="{_x(1)}" y2="{y}"/>'
    return [name, f'<text x="70" y="{y + 5}">{quantizer.bits} bit{"s" * (quantizer.bits > 1)}</text>', axis, ticks]


def _x(value: float) -> float:
    return _LEFT + 10 + (value + 1.0) / 2.0 * _WIDTH


if __name__ == "__main__":
    files.write(PICTURE, drawing())
    print(f"wrote {PICTURE}")
