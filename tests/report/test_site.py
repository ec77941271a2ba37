"""The documentation site, as `make docs` builds it, in a real browser."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "index.html",
    "guide/getting_started.html",
    "guide/policies.html",
    "guide/quantizers.html",
    "guide/deployment.html",
    "reference/attacks.html",
    "results/leaderboard.html",
    "results/paper/mnist_selection.html",
    "CONTRIBUTING.html",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: make docs does so")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_its_window_and_shows_all_its_pictures(site, browser, page, width, colors):
    browser.open(site / page, width, colors=colors)
    assert browser.value("document.scrollingElement.scrollWidth") <= width
    assert browser.value("[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)") == []
    scheme = {"light": "default", "dark": "slate"}[colors]
    assert browser.value("document.body.dataset.mdColorScheme") == scheme


@pytest.mark.parametrize(
    "name",
    [
        "quantizers",
        "policies",
        "attacks",
        "evaluation",
        "training",
        "tflite",
        "compression",
        "datasets",
        "models",
        "report",
    ],
)
def test_every_public_name_of_a_package_has_its_place_in_the_reference(site, name):
    page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
    package = importlib.import_module(f"tf_laq.{name}")
    assert [public for public in package.__all__ if f'.{public}"' not in page] == []
