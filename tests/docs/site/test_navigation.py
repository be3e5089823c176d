"""Every page is in the site's navigation, and every entry is a page; checked without building the site."""

from __future__ import annotations

from typing import Any

import yaml

from docs.mkdocs.errors.pages import AREAS, FOLDER
from docs.mkdocs.places import DOCS, MOVED, Places
from docs.mkdocs.python_pages import public_names, python_pages
from tests.docs.pages import PAGES, ROOT

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def entries(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in entries(part)]


def test_navigation_has_every_page_once() -> None:
    """A new page in docs/ needs a line under `nav` in mkdocs.yml."""
    generated = [*python_pages(public_names(ROOT)), *(f"{FOLDER}/{area.name}.md" for area in AREAS)]
    pages = [*(Places.on_site(str(page.relative_to(ROOT))) for page in PAGES), *generated]
    listed = entries(CONFIG["nav"])
    assert len(listed) == len(set(listed)), "a page is there twice"
    assert set(listed) == set(pages)


def test_pages_from_elsewhere_are_there() -> None:
    for home, place in MOVED.items():
        assert (ROOT / home).is_file()
        assert home == "docs/README.md" or not (ROOT / DOCS / place).exists(), f"docs/{place} and {home} are one page"
