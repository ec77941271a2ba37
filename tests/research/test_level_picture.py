"""The picture of the quantizers' levels in the guide."""

import re

from research.level_picture import PICTURE, drawing


def test_the_picture_in_the_guide_is_that_of_the_quantizers_there_are():
    assert PICTURE.read_text(encoding="utf-8") == drawing(), "run python -m research.level_picture"


def test_a_quantizer_of_ones_own_is_drawn_with_its_levels(ternary):
    rows = drawing().partition(">ternary<")[2]
    assert rows.count('class="axis"') == 1
    assert len(re.findall(r"<line x1", rows)) == ternary(2).encode([-1.0, 0.0, 1.0]).codebook.size
