"""The README is short, and its links work wherever it is shown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import dlrm_pl
from dlrm_pl.artifact.summary import comparison, drop_line
from dlrm_pl.cli import main as cli
from tests.docs.pages import PAGES, ROOT

pytestmark = pytest.mark.untraced

README = (ROOT / "README.md").read_text()


def test_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_readme_has_links_that_work_where_it_is_shown() -> None:
    """PyPI shows the README without the files beside it, so links become absolute once there is an address for them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = dict(re.findall(r"^\[([\w-]+)\]: (\S+)$", README, re.MULTILINE))
    used = set(re.findall(r"\]\[([\w-]+)\]", README))
    assert used == set(targets)
    assert not re.search(r"\]\((?!https?://)", README), "collect relative links at the end"
    if address := project.get("urls", {}).get("Repository"):
        assert all(target.startswith(address) for target in targets.values())


def test_results_of_the_quick_start_have_the_words_of_the_program(quickstart: Path) -> None:
    """Numbers differ with the rows; the rest of each line is what the program prints."""
    artifact = dlrm_pl.load_artifact(quickstart / "artifacts" / "quickstart")
    for name, *_ in comparison(artifact.manifest, artifact.certificate):
        assert f"│ {name} " in README
    words = re.sub(r"[\d.,%-]+", "N", drop_line(artifact.certificate)).partition(":")[0]
    assert words in re.sub(r"[\d.,%-]+", "N", README)


def test_every_page_is_in_the_index_of_its_folder() -> None:
    """Every folder of pages has an index, and the index of all pages names it."""
    docs = ROOT / "docs"
    for folder in sorted({page.parent for page in docs.rglob("*.md")}):
        index = (folder / "README.md").read_text()
        for page in folder.glob("*.md"):
            assert page.name == "README.md" or f"]({page.name})" in index, page
        assert folder == docs or f"]({folder.name}/README.md)" in (docs / "README.md").read_text(), folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_of_make_are_there(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_is_in_the_tables_of_commands() -> None:
    for name in ("README.md", "docs/cli.md"):
        cells = re.findall(r"^\| (`.*?`) \|", (ROOT / name).read_text(), re.MULTILINE)
        named = {command for cell in cells for command in re.findall(r"`([\w-]+)`", cell)}
        assert set(cli.ORDER) <= named, name
    assert "completion" in cli.ORDER
