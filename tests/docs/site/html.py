"""Parses a page of the site for the tests: its anchors, links, resources and blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_BLOCKS = ("h1", "h2", "h3", "h4", "h5", "h6", "li", "tr", "pre", "p", "img", "blockquote")


@dataclass
class Html(HTMLParser):
    """One page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    """Targets of links to other pages and to anchors."""
    loaded: list[str] = field(default_factory=list)
    """Resources that the browser loads to show the page."""
    blocks: Counter[str] = field(default_factory=Counter)
    """Number of headings, items, rows and so on in the article."""
    text: str = ""
    """Text of the article."""
    comments: list[str] = field(default_factory=list)
    _inside: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside |= tag == "article"
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.loaded.append(values["href"])
        if values.get(_LOADED.get(tag, "")):
            self.loaded.append(values[_LOADED[tag]])
        if self._inside and tag in _BLOCKS:
            self.blocks[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@cache
def read(path: Path) -> Html:
    """Parse a page of the site."""
    page = Html()
    page.feed(path.read_text())
    return page
