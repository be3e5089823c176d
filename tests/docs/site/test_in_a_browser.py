"""In a real browser, no page is wider than a phone or desktop window, in light and dark, and the search works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.browser import BROWSER, DRIVER, Browser, browser, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.untraced,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="Chromium and chromedriver are not installed"),
]

WIDTHS = (390, 1280)
LIGHTNESS = """
    let color = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
    return (color[0] + color[1] + color[2]) / 765;
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as there:
        yield there


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_to_the_side(width: int, scheme: str, window: Browser, address: str, site: Path) -> None:
    window.resize(width)
    window.prefer(scheme)
    wide, hosts = [], set()
    for path in sorted(site.rglob("index.html")):
        window.show(f"{address}{path.parent.relative_to(site)}/")
        assert window.run("return innerWidth") == width
        if (needed := window.run("return document.scrollingElement.scrollWidth")) > width:
            wide.append((str(path), needed))
        lightness = window.run(LIGHTNESS)
        assert lightness > 0.9 if scheme == "light" else lightness < 0.3, path
        hosts |= set(window.run("return performance.getEntriesByType('resource').map(one => new URL(one.name).origin)"))
    assert wide == []
    assert hosts == {address.rstrip("/")}


def test_pages_that_are_too_wide_are_found(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p style='width: 500px'>wide</p>")
    with served(tmp_path) as there:
        window.resize(390)
        window.show(there)
        assert window.run("return document.scrollingElement.scrollWidth") > 390


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sensitivity", "guides/choosing_a_strategy/"),
        ("normalized entropy", "reference/python/metrics/"),
        ("exit status", "cli/"),
        ("max_trials", "reference/errors/quantization/"),
        ("data/train.bin: 1003 bytes is not a whole number of 160-byte records", "reference/errors/datasets/"),
        ("epsilon=0.5 is of Adagrad, but the optimizer of the tables is sgd.", "reference/errors/training/"),
    ],
)
def test_search_finds(words: str, found: str, width: int, window: Browser, address: str) -> None:
    window.resize(width)
    window.show(f"{address}limits/")
    results = search(window, words)
    pages = [urlsplit(link).path.removeprefix("/") for link in results]
    assert found in list(dict.fromkeys(pages))[:4], results


def search(window: Browser, words: str) -> list[str]:
    """Type words into the site's search field and return the addresses of the results."""
    window.run("document.querySelector('label.md-header__button[for=__search], .md-search__input').click()")
    window.wait_for("return document.querySelector('.md-search__input').offsetWidth > 0")
    window.run("document.querySelector('.md-search__input').focus()")
    time.sleep(0.3)  # The theme loads its index when the field gets the focus.
    window.devtools("Input.insertText", text=words)
    window.wait_for("return document.querySelectorAll('.md-search-result__link').length")
    return list(window.run("return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"))
