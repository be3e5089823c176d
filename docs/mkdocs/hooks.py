"""MkDocs' hooks: pages from outside docs/, links that work on the site and on GitHub, GitHub's anchors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path.

from docs.mkdocs.errors import pages as errors  # noqa: E402
from docs.mkdocs.errors.code import Code  # noqa: E402
from docs.mkdocs.errors.messages import Message, messages  # noqa: E402
from docs.mkdocs.listing import listing  # noqa: E402
from docs.mkdocs.places import DOCS, MOVED, Places  # noqa: E402
from docs.mkdocs.prose import slug, without_comments  # noqa: E402
from docs.mkdocs.python_pages import PAGE, public_names, python_pages, with_overview  # noqa: E402
from mkdocs.structure.files import File, InclusionLevel  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_places: Places
_messages: list[Message]


def on_config(config: MkDocsConfig) -> None:
    """Give headings the same anchors as on GitHub."""
    config.mdx_configs["toc"]["slugify"] = slug


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from other folders, and one for each file that a page links to."""
    global _places, _messages  # MkDocs only calls functions, and keeps no state between them.
    docs = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()]
    _places = Places(ROOT, sorted({*docs, *MOVED}))
    for home, place in MOVED.items():
        if home.startswith(DOCS):
            files.remove(files.src_uris[home.removeprefix(DOCS)])
        files.append(File.generated(config, place, content=(ROOT / home).read_text()))
    for path in _places.shown:
        page = listing(path, (ROOT / path).read_text())
        files.append(File.generated(config, Places.on_site(path), content=page, inclusion=InclusionLevel.NOT_IN_NAV))
    code = Code.of(ROOT)
    _messages = messages(code)
    for path, page in (python_pages(public_names(ROOT)) | errors.error_pages(code, _messages)).items():
        files.append(File.generated(config, path, content=page))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links, remove the comments, and fill the pages that have a different text on the site."""
    if page.file.src_uri == PAGE:
        markdown = with_overview(markdown, public_names(ROOT))
    elif page.file.src_uri == errors.PAGE:
        markdown = errors.with_areas(markdown, _messages)
    return without_comments(_places.with_site_links(markdown, page.file.src_uri))
