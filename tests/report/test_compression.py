"""The page of a compression: the recommendation first, then what it follows from."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser

import pytest

from tf_laq import report
from tf_laq.compression import Compression, Recommendation, Rule
from tf_laq.evaluation import load_examples
from tf_laq.report.fronts import draw_sizes
from tf_laq.report.layers import draw_layers, layers_of


class Page(HTMLParser):
    """The elements of a page with their attributes and texts, and its text in all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.text = ""
        self._open: list[int] = []
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")
        if tag not in ("meta", "br", "img", "link", "input"):
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data):
        for number in self._open:
            self.texts[number] += data
        if not {"style", "title", "desc"} & {self.elements[number][0] for number in self._open}:
            self.text += data

    def all(self, tag):
        """Return attributes and text of every element with a tag."""
        return [
            (attributes, text.strip())
            for (found, attributes), text in zip(self.elements, self.texts, strict=True)
            if found == tag
        ]

    def values(self, name):
        """Return all values of an attribute."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def page_of(result: Compression, path, **more) -> Page:
    return Page(report.write_compression(path / "report.html", result, **more).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(compression, tmp_path_factory):
    folder, result = compression
    attacks = folder / "work" / "attacks"
    names = ("original", result.recommendation.name)
    examples = [load_examples(attacks / f"{name}-full-{result.robustness.count}")[0] for name in names]
    return page_of(result, tmp_path_factory.mktemp("page"), examples=examples)


def test_the_recommendation_comes_first(page, compression):
    _, result = compression
    chosen = result.recommended
    ((_, heading),) = page.all("h1")
    assert heading == f"Ship {chosen.name}"
    beginning = page.text.partition("Size against worst case")[2].partition("Size against worst case")[0]
    lost = result.loss(chosen.name)
    for part in (
        result.recommendation.reason,
        "kept",
        f"{chosen.bytes:,} bytes",
        f"the original {result.original.bytes:,}",
        f"interval {lost.lower:.1f} to {lost.upper:.1f}; on the same 64 images",
        "recommended/model.tflite",
        "recommended/plan.json",
        str(result.file_check),
    ):
        assert part in beginning


def test_headings_are_in_order(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_page_loads_nothing_and_its_links_lead_into_it(page, compression, tmp_path):
    _, result = compression
    assert all(address.startswith("data:image/png;base64,") for address in page.values("src"))
    places = page.values("id")
    assert len(places) == len(set(places))
    assert page.values("href")
    assert all(address[:1] == "#" and address[1:] in places for address in page.values("href"))
    assert not page.all("script") + page.all("link")
    text = report.write_compression(tmp_path / "report.html", result).read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_every_picture_has_words(page):
    assert len(page.all("img")) == 1
    assert all(attributes["alt"] for attributes, _ in page.all("img"))
    drawn = [number for number, (tag, _) in enumerate(page.elements) if tag == "svg"]
    assert len(drawn) == 2
    for number in drawn:
        assert page.elements[number][1]["role"] == "img"
        assert [tag for tag, _ in page.elements[number + 1 : number + 3]] == ["title", "desc"]
        assert all(page.texts[number + 1 : number + 3])


def test_tables_have_captions_and_headings_and_the_keyboard_reaches_what_scrolls(page):
    assert page.all("html")[0][0]["lang"] == "en"
    assert len(page.all("main")) == 1
    tables = page.all("table")
    assert len(tables) == len(page.all("caption")) == 4
    assert all(attributes["scope"] in ("col", "row") for attributes, _ in page.all("th"))
    scrolling = [attributes for attributes, _ in page.all("div") if attributes.get("class") == "scroll"]
    assert len(scrolling) == len(tables) + 1
    assert all((a["tabindex"], a["role"], bool(a["aria-label"])) == ("0", "region", True) for a in scrolling)


def test_every_candidate_has_a_row_and_the_recommended_one_is_marked(page, compression):
    _, result = compression
    _, rows = result.rows()
    shown = ["".join(text.split()) for _, text in page.all("tr")]
    assert all("".join("".join(row).split()) in shown for row in rows)
    (marked,) = [text for attributes, text in page.all("tr") if attributes.get("class") == "chosen"]
    assert marked.startswith(result.recommendation.name)


def test_the_layers_and_the_rest_are_the_whole_file(compression):
    _, result = compression
    layers = layers_of(result.recommended)
    rows = report.layers.layer_table(layers, result.recommended.export).rows
    assert len(rows) == len(result.recommended.plan.entries) + 1
    assert sum(int(row[6].replace(",", "")) for row in rows) == result.recommended.bytes
    assert sum(float(row[7]) for row in rows) == pytest.approx(100, abs=0.3)


def test_bytes_are_those_of_files(page, compression):
    _, result = compression
    export = result.recommended.export
    files = {model.bytes for model in result.models} | {*export.layout_bytes.values(), export.float_bytes}
    named = {int(number.replace(",", "")) for number in re.findall(r"([\d,]*\d) bytes", page.text)}
    assert result.recommended.bytes in named
    assert named <= files


def test_where_no_candidate_keeps_the_rule_the_page_says_so(compression, tmp_path):
    _, result = compression
    smallest = min(result.models, key=lambda model: model.bytes).bytes
    missed = dataclasses.replace(
        result,
        rule=Rule(max_bytes=smallest),
        recommendation=dataclasses.replace(result.recommendation, keeps_rule=False),
    )
    page = page_of(missed, tmp_path)
    assert page.all("h1")[0][1] == f"No candidate keeps the rule: {result.recommendation.name} comes nearest"
    assert "✗ not kept" in page.text
    assert f"at most {smallest:,} bytes" in page.text
    assert [attributes["class"] for attributes, _ in page.all("line")].count("limit") == 1


def test_the_original_can_be_what_is_shipped(compression, tmp_path):
    _, result = compression
    kept = Recommendation(name="original", keeps_rule=False, reason="Ship original, which is not quantized.")
    page = page_of(dataclasses.replace(result, recommendation=kept), tmp_path)
    assert page.all("h1")[0][1] == "Ship the original: no candidate keeps the rule"
    assert "plan.json" not in page.text
    assert "#layers" not in page.values("href")


def test_names_are_shown_as_text_not_as_markup(compression, tmp_path):
    _, result = compression
    text = json.dumps(result.to_dict()).replace(f'"{result.recommendation.name}"', '"<b> & co"')
    named = Compression.from_dict(json.loads(text))
    page = page_of(named, tmp_path)
    assert page.all("h1")[0][1] == "Ship <b> & co"
    assert "<b> & co" in [text for _, text in page.all("text")]


def test_the_same_compression_gives_the_same_page(compression, tmp_path):
    _, result = compression
    first, second = (report.write_compression(tmp_path / name, result) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_models_that_were_only_screened_are_drawn_as_bounds(compression):
    _, result = compression
    picture = draw_sizes(result)
    places = {
        (model.bytes, result.screening.worst_case(model.name))
        for model in result.models
        if not result.attacked(model.name)
    }
    assert picture.count("<circle") == len(result.robustness.models)
    assert picture.count('<path class="bound"') == len(places) > 0
    assert "worst case at most" in picture


@pytest.mark.parametrize("count", [1, 10, 120])
def test_layers_of_any_number_are_drawn_without_words_on_each_other(compression, count):
    _, result = compression
    layers = layers_of(result.recommended)
    picture = draw_layers([layers[number % len(layers)] for number in range(count)])
    assert picture.count("<rect") == 3 * count
    places = sorted(
        (float(y), float(x), len(text))
        for x, y, text in re.findall(r'x="([\d.]+)" y="([\d.]+)" text-anchor="middle">([^<]*)<', picture)
    )
    for (y, x, length), (lower, right, other) in itertools.pairwise(places):
        assert lower > y or right - x >= 5 * (length + other) / 2
