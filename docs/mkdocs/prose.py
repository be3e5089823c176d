"""Rewrites links and removes comments in the text of a page, outside its code."""

from __future__ import annotations

import re
from collections.abc import Callable

_CODE_OR_LINK = re.compile(
    r"(?P<code>^(?P<fence>`{3,})\w*[^\n]*\n.*?^(?P=fence)$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<comment><!--.*?-->\n?)"
    r"|(?P<before>\]\(|^\[[^\]\n]+\]: )(?P<target>[^)\s]+)",
    re.DOTALL | re.MULTILINE,
)


def with_links(text: str, place: Callable[[str], str]) -> str:
    """Return a page with other link targets.

    Args:
        text: Markdown. Code blocks and inline code stay as they are.
        place: maps the target of a link or an image to the new target.
    """

    def replace(match: re.Match[str]) -> str:
        return f"{match['before']}{place(match['target'])}" if match["target"] else match[0]

    return _CODE_OR_LINK.sub(replace, text)


def links_of(text: str) -> list[str]:
    """Return the targets of all links and images of a page."""
    return [match["target"] for match in _CODE_OR_LINK.finditer(text) if match["target"]]


def without_comments(text: str) -> str:
    """Return a page without its HTML comments, which are notes for the tests."""
    return _CODE_OR_LINK.sub(lambda match: "" if match["comment"] else match[0], text)


def slug(heading: str, separator: str = "-") -> str:
    """Return the anchor that GitHub gives to a heading, so that one link works there and on the site.

    Args:
        heading: text of the heading without markup.
        separator: replaces a space; Python-Markdown passes it.
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)
