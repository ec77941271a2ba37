from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

import pytest

from tf_laq import report
from tf_laq.evaluation import Check
from tf_laq.report import ModelSize, size_table

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """The addresses, tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def written(tmp_path, plans, robustness):
    path = report.write_report(
        tmp_path / "report.html",
        facts={"Data set": "digits, 20 images"},
        plans=plans,
        sizes=[ModelSize("q1", 3.0, 100, 20, 1000)],
        robustness=robustness,
        command="laq demo --out 'a & b'",
    )
    return path, Page(path.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_elsewhere(written):
    path, page = written
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "link" not in page.tags


def test_the_figures_are_in_the_page_and_beside_it(written):
    path, page = written
    inside = [base64.b64decode(address.partition(",")[2]) for address in page.addresses]
    beside = {p.name: p.read_bytes() for p in (path.parent / "plots").iterdir()}
    assert sorted(beside) == ["bits_per_layer.png", "error_per_layer.png", "robust_accuracy.png"]
    assert sorted(inside) == sorted(beside.values())
    assert all(content.startswith(PNG) for content in inside)


def test_the_page_has_the_tables_facts_and_command(written):
    _, page = written
    for part in ("digits, 20 images", "60.0/25.0", "25.0 [11.2, 46.9]", "laq demo --out 'a & b'", "8.33"):
        assert part in page.text
    assert "uniform log, 3 bits" in page.text
    assert "the same for every tensor" in page.text


def test_names_are_shown_as_text_not_as_markup(written):
    _, page = written
    assert "<b>q2</b>" in page.text


def test_parts_without_results_are_left_out(tmp_path, plans):
    page = Page(report.write_report(tmp_path / "r.html", plans=plans).read_text(encoding="utf-8"))
    assert "Plans" in page.text
    assert "Accuracy under attack" not in page.text
    assert "Reproduce" not in page.text


def test_the_same_results_give_the_same_page(tmp_path, plans, robustness):
    pages = [
        report.write_report(tmp_path / name, plans=plans, robustness=robustness).read_bytes()
        for name in ("a.html", "b.html")
    ]
    assert pages[0] == pages[1]


def test_a_plan_with_float_tensors_is_drawn(plans):
    first, *others = plans["q1"].entries
    entries = dataclasses.replace(first, quantizer=None, bits=32, quantized_norm=None, error_norm=None), *others
    plan = dataclasses.replace(plans["q1"], entries=entries)
    assert set(report.draw_plots({"lq": plan}, None)) == {"bits_per_layer.png", "error_per_layer.png"}


def test_sizes_count_kernels_at_their_bits_and_the_rest_in_float(plans):
    plan = plans["q1"]
    size = ModelSize.of("q1", plan, plan.weights + 10)
    assert (size.kernel_bytes, size.other_bytes) == (plan.bytes, 40)
    full = ModelSize.of("adv", plan, plan.weights + 10).in_float32()
    assert full.bytes == full.float_bytes == 4 * (plan.weights + 10)
    assert full.ratio == 1.0
    assert "32.00" in size_table([full, size])


def test_a_model_is_as_large_as_its_smallest_file_where_the_plan_knows_it(plans):
    plan = dataclasses.replace(plans["q1"], file_bytes={"packed": 12_345, "int8": 23_456})
    size = ModelSize.of("q1", plan, plan.weights + 10)
    assert (size.bytes, size.ratio) == (12_345, size.float_bytes / 12_345)
    assert size.in_float32().bytes == size.float_bytes
    assert "12,345" in size_table([size])


def test_what_makes_the_figures_misleading_stands_on_the_page(tmp_path, robustness):
    found = Check(model="q1", name="transfer", verdict="warning", figures={"p": 0.01}, sentence="gray <beats> white.")
    checked = dataclasses.replace(robustness, checks=(found,))
    page = report.write_report(tmp_path / "report.html", robustness=checked).read_text(encoding="utf-8")
    assert "warning: q1, transfer: gray &lt;beats&gt; white." in page
    assert "Checks: 0 of 1 ok." in page
