"""The built site has working links, loads nothing from other hosts, and shows the same as GitHub."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from docs.mkdocs.errors import pages as errors
from docs.mkdocs.errors.code import Code
from docs.mkdocs.errors.messages import messages
from docs.mkdocs.places import MOVED, Places
from docs.mkdocs.python_pages import PAGE, public_names, with_overview
from tests.docs.pages import PAGES, ROOT
from tests.docs.site.building import build
from tests.docs.site.html import Html, read

pytestmark = pytest.mark.untraced

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def html_of(site: Path, name: str) -> Path:
    """Return the file of a page, given its path in the repository."""
    place = Path(Places.on_site(name))
    return site / (place.parent if place.name in ("index.md", "README.md") else place.with_suffix("")) / "index.html"


def faults(site: Path) -> list[str]:
    """Return links of the site that lead nowhere, and resources from other hosts."""
    found = []
    for path in sorted(site.rglob("*.html")):
        page, name = read(path), path.relative_to(site)
        if name.name == "404.html":
            continue  # Served at any address, so its links begin with a slash.
        for target in page.links + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                found += [f"{name} loads {target}"] if target in page.loaded else []
                continue
            linked = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            linked = linked / "index.html" if linked.is_dir() else linked
            if not linked.is_file():
                found.append(f"{name}: {target} is missing")
            elif parts.fragment and unquote(parts.fragment) not in read(linked).ids | {"__skip", "__comments"}:
                found.append(f"{name}: {target} has no such anchor")
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)} loads {url}" for url in re.findall(r"url\((https?:.*?)\)", path.read_text())
        ]
    return found


@pytest.mark.slow
def test_links_lead_somewhere_and_nothing_comes_from_another_host(site: Path) -> None:
    assert faults(site) == []


def test_faults_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/#there"></a><a href="a/#gone"></a><a href="b/"></a><a href="https://other.org/"></a>'
        '<script src="https://cdn.org/x.js"></script><link rel="stylesheet" href="c.css">'
    )
    (tmp_path / "a" / "index.html").write_text('<p id="there"></p><a href="..#top"></a>')
    (tmp_path / "c.css").write_text("p { background: url(https://fonts.org/x.woff) }")
    assert faults(tmp_path) == [
        "a/index.html: ..#top has no such anchor",
        "index.html: a/#gone has no such anchor",
        "index.html: b/ is missing",
        "index.html loads https://cdn.org/x.js",
        "c.css loads https://fonts.org/x.woff",
    ]


@pytest.mark.slow
def test_every_file_of_the_repository_that_a_page_links_to_is_shown(site: Path) -> None:
    shown = {str(path.parent.relative_to(site / "source")) for path in site.glob("source/**/index.html")}
    assert {"deploy/Dockerfile", "examples/score_rows.ipynb", "examples/train_own_log.py"} <= shown
    last = (ROOT / "deploy/Dockerfile").read_text().splitlines()[-1]
    assert last in read(site / "source/deploy/Dockerfile/index.html").text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_github_shows(name: str, site: Path) -> None:
    """Python-Markdown parses lists and tables differently from GitHub if blank lines are missing."""
    github = Html()
    text = (ROOT / name).read_text()
    if name == f"docs/{PAGE}":
        text = with_overview(text, public_names(ROOT))
    elif name == f"docs/{errors.PAGE}":
        text = errors.with_areas(text, messages(Code.of(ROOT)))
    github.feed(f"<article>{MarkdownIt('commonmark').enable('table').render(text)}</article>")
    page = read(html_of(site, name))
    blocks = Counter({block: count for block, count in page.blocks.items() if block != "p"})
    expected = Counter({block: count for block, count in github.blocks.items() if block != "p"})
    assert blocks == expected
    assert not any(word in comment for comment in page.comments for word in ("slow", "parse only", "set-up"))


@pytest.mark.slow
def test_every_moved_page_is_there(site: Path) -> None:
    for name in MOVED:
        assert html_of(site, name).is_file()


@pytest.mark.slow
def test_wrong_links_stop_the_build(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "deploy", "examples", *(home for home in MOVED if "/" not in home)):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "dlrm_pl").mkdir()
    (tmp_path / "dlrm_pl/errors.py").write_text('"""Exceptions."""\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/mkdocs").symlink_to(ROOT / "docs" / "mkdocs")
    (tmp_path / "docs/README.md").write_text("# Documentation\n")
    (tmp_path / "docs/cli.md").write_text("# Command line\n\n## There\n")
    links = "[a](gone.md), [b](cli.md#gone), [c](../benchmarks/gone.py), [d](cli.md#there), [e](../deploy/Dockerfile)"
    (tmp_path / "docs/limits.md").write_text(f"# Limits\n\n{links}\n")
    with pytest.raises(AssertionError, match="warnings in strict mode") as stopped:
        build(tmp_path / "site", tmp_path, plugins=["search"])
    said = [line for line in str(stopped.value).splitlines() if "'limits.md'" in line]
    assert len(said) == 3
    messages = "'gone.md', but the target is not found", "does not contain an anchor '#gone'", "benchmarks/gone.py"
    assert all(message in "\n".join(said) for message in messages)
