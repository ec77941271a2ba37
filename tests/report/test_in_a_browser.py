"""The pages in a real browser: a headless Chromium, where one is installed."""

from __future__ import annotations

import base64
import itertools

import pytest

from tf_laq import report

# Text that is seen, with the contrast between its colour and that of the ground it is on (WCAG 2.2).
CONTRASTS = """
(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = parse(color).map(part);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(title, desc)")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (ground.parentElement && (parse(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) {
      ground = ground.parentElement;
    }
    const color = element.closest("svg") ? style.fill : style.color;
    const ends = [light(color), light(getComputedStyle(ground).backgroundColor)].sort((a, b) => a - b);
    found.push([element.textContent.trim().slice(0, 40), (ends[1] + 0.05) / (ends[0] + 0.05)]);
  }
  return found;
})()
"""

FOCUSED = """
(() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  return {
    name: element.getAttribute("aria-label") ?? element.textContent.trim(),
    seen: style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 && box.right > 0 && box.bottom > 0,
  };
})()
"""


@pytest.fixture(scope="module")
def pages(compression, robustness, tmp_path_factory):
    _, result = compression
    folder = tmp_path_factory.mktemp("pages")
    return {
        "compression": report.write_compression(folder / "compression.html", result),
        "evaluation": report.write_report(folder / "evaluation.html", facts={"Data": "digits"}, robustness=robustness),
    }


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("name", ["compression", "evaluation"])
def test_the_page_does_not_scroll_sideways(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth === document.documentElement.clientWidth")


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("name", ["compression", "evaluation"])
def test_all_text_stands_out_from_its_ground(browser, pages, name, colors):
    browser.open(pages[name], 390, colors=colors)
    found = browser.value(CONTRASTS)
    assert len(found) > 25
    assert [pair for pair in found if pair[1] < 4.5] == []


def test_the_page_follows_a_dark_screen_but_is_printed_on_white(browser, pages):
    grounds = {}
    for colors, media in itertools.product(("light", "dark"), ("screen", "print")):
        browser.open(pages["compression"], 700, colors=colors, media=media)
        grounds[colors, media] = browser.value("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert grounds.pop(("dark", "screen")) != "rgb(255, 255, 255)"
    assert set(grounds.values()) == {"rgb(255, 255, 255)"}


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser, pages):
    browser.open(pages["compression"], 390)
    reached = []
    for _ in range(100):
        browser.press("Tab", 9)
        if browser.value("document.activeElement === document.body"):
            break
        reached.append(browser.value(FOCUSED))
    assert reached[0]["name"] == "Skip to the recommendation"
    assert all(each["seen"] for each in reached)
    wanted = browser.value("[...document.querySelectorAll('[tabindex=\"0\"]')].map((e) => e.ariaLabel)")
    assert len(wanted) >= 5
    assert set(wanted) <= {each["name"] for each in reached}


def test_the_skip_link_leads_past_the_links_to_the_sections(browser, pages):
    browser.open(pages["compression"], 390)
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    assert browser.value("document.activeElement.tagName") == "MAIN"


def test_pictures_have_a_name_and_a_description_for_screen_readers(browser, pages):
    browser.open(pages["compression"], 390)
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in nodes if node.get("role", {}).get("value") == "image"]
    assert len(images) == 2
    assert all(node["name"]["value"] and node["description"]["value"] for node in images)


def test_the_page_loads_nothing(browser, pages):
    browser.open(pages["compression"], 390)
    assert browser.value("performance.getEntriesByType('resource').map((entry) => entry.name)") == []


def test_the_page_is_printed_with_all_that_a_screen_folds_away(browser, pages):
    seen = {}
    for media in ("screen", "print"):
        browser.open(pages["compression"], 700, media=media)
        seen[media] = browser.value("document.querySelector('#accuracy details ul').checkVisibility()")
    assert seen == {"screen": False, "print": True}
    printed = base64.b64decode(browser.send("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
