"""Maps files of the repository to the site, so that relative links work both there and on GitHub."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path

from docs.mkdocs.prose import links_of, with_links

DOCS = "docs/"
MOVED = {
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "examples/README.md": "examples.md",
    "deploy/README.md": "deployment.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "SECURITY.md": "security.md",
}
"""Pages whose folder or name on the site differs from that in the repository."""

_OUTSIDE = ("http://", "https://", "mailto:", "#")


class Places:
    """Places on the site of pages and of other files that pages link to.

    Args:
        root: folder of the repository.
        pages: Markdown files by their paths in the repository.
    """

    def __init__(self, root: Path, pages: Iterable[str]) -> None:
        self.pages = list(pages)
        self._home = {self.on_site(page): page for page in self.pages}
        targets = {
            posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition("#")[0]))
            for page in self.pages
            for target in links_of((root / page).read_text())
            if not target.startswith(_OUTSIDE)
        }
        self.shown = sorted(one for one in targets if one not in self.pages and self._is_outside(root, one))
        """Files that pages link to and that are not pages: each gets a page of its own."""

    @staticmethod
    def on_site(path: str) -> str:
        """Return the site's path for a file of the repository."""
        if path in MOVED:
            return MOVED[path]
        return path.removeprefix(DOCS) if path.startswith(DOCS) else f"source/{path}.md"

    def with_site_links(self, text: str, page: str) -> str:
        """Return a page's text with links between files of the repository replaced by links on the site.

        Args:
            text: Markdown.
            page: path of the page on the site.
        """
        home = self._home.get(page)
        if home is None:
            return text  # Generated for the site.

        def place(target: str) -> str:
            if target.startswith(_OUTSIDE):
                return target
            path, mark, anchor = target.partition("#")
            linked = self.on_site(posixpath.normpath(posixpath.join(posixpath.dirname(home), path)))
            return posixpath.relpath(linked, posixpath.dirname(page) or ".") + mark + anchor

        return with_links(text, place)

    @staticmethod
    def _is_outside(root: Path, path: str) -> bool:
        return not path.startswith(DOCS) and (root / path).is_file()
