from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

import pytest

from tf_laq import report
from tf_laq.evaluation import Check

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
def written(tmp_path, robustness):
    path = report.write_report(
        tmp_path / "report.html",
        facts={"Data set": "digits, 20 images"},
        robustness=robustness,
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
    assert sorted(beside) == ["robust_accuracy.png"]
    assert sorted(inside) == sorted(beside.values())
    assert all(content.startswith(PNG) for content in inside)


def test_the_page_has_the_table_and_the_facts(written):
    _, page = written
    for part in ("digits, 20 images", "60.0/25.0", "25.0 [11.2, 46.9]"):
        assert part in page.text


def test_names_are_shown_as_text_not_as_markup(written):
    _, page = written
    assert "<b>q2</b>" in page.text


def test_the_same_results_give_the_same_page(tmp_path, robustness):
    pages = [report.write_report(tmp_path / name, robustness=robustness).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_what_makes_the_figures_misleading_stands_on_the_page(tmp_path, robustness):
    found = Check(model="q1", name="transfer", verdict="warning", figures={"p": 0.01}, sentence="gray <beats> white.")
    checked = dataclasses.replace(robustness, checks=(found,))
    page = report.write_report(tmp_path / "report.html", robustness=checked).read_text(encoding="utf-8")
    assert "warning: q1, transfer: gray &lt;beats&gt; white." in page
    assert "Checks: 0 of 1 ok." in page
