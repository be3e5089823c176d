"""The commands, Python and YAML of every page are run, or checked where a mark on the page says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlrm_pl.cli import main as cli
from tests.docs.pages import LANGUAGES, MARKS, PAGES, ROOT, blocks_of, commands, setup_of, statements
from tests.docs.running import PageError, run_page

pytestmark = [pytest.mark.untraced, pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# Commands on the quick start's rows, of which the tests make too few for a certificate to decide.
FEW_ROWS = frozenset({0, 4})


def run(name: str, slow: bool, request: pytest.FixtureRequest, folder: Path, patch: pytest.MonkeyPatch) -> None:
    page = ROOT / name
    patch.syspath_prepend(".")
    makes_its_own = slow and any("--output datasets/quickstart" in block.text for block in blocks_of(page))
    if setup_of(page) is None or makes_its_own:
        patch.chdir(folder)
        run_page(blocks_of(page), slow)
    else:
        request.getfixturevalue(str(setup_of(page)))
        run_page(blocks_of(page), slow, FEW_ROWS)


SLOW_PAGES = ("docs/sweep.md", "docs/quantization.md", "docs/training.md")
"""Their commands take five to thirty seconds of processor time; other tests run smaller ones."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_PAGES else name for name in NAMES],
)
def test_blocks_of_a_page_run(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(name, False, request, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in NAMES if any(b.mark == "slow" for b in blocks_of(ROOT / name))])
def test_slow_blocks_of_a_page_run(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(name, True, request, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_says_what_it_is(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = blocks_of(ROOT / name)
    assert text.count("\n```") == 2 * len(blocks), "a fence is not closed, or stands inside another"
    for block in blocks:
        assert block.language in LANGUAGES, block.place
        assert not block.mark or block.mark in MARKS, block.place


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    for target in targets:
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{name}: {target}"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_page_names_are_there(name: str) -> None:
    text = (ROOT / name).read_text()
    for path in re.findall(
        r"(?<![\w/.])(?:configs|docs|benchmarks|tests|examples|dlrm_pl)/[\w./-]+\.(?:yaml|svg|md|py|sh)", text
    ):
        assert (ROOT / path).is_file(), f"{name}: {path}"


@pytest.mark.parametrize("name", NAMES)
def test_words_are_those_of_the_glossary(name: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.DOTALL | re.MULTILINE)
    _check_words(prose, name)


@pytest.mark.parametrize("pattern", ["configs/**/*.yaml", "dlrm_pl/cli/**/*.py", "dlrm_pl/migration/flags/*.py"])
def test_words_of_configs_and_commands_are_those_of_the_glossary(pattern: str) -> None:
    """The docstrings of the commands are their help; users also see the translation of upstream's flags."""
    files = sorted(ROOT.glob(pattern))
    assert files
    for file in files:
        _check_words(file.read_text(), str(file.relative_to(ROOT)))


@pytest.mark.parametrize("pattern", ["configs/**/*.yaml", "docs/**/*.md", "dlrm_pl/migration/flags/*.py"])
def test_callbacks_are_named_by_their_public_names(pattern: str) -> None:
    for file in ROOT.glob(pattern):
        assert not re.search(r"class_path: dlrm_pl\.callbacks|[\"`]dlrm_pl\.callbacks\.\w+\.\w", file.read_text()), file


def _check_words(prose: str, name: str) -> None:
    for word in ("twin", "portable", "seed recipe", "the reference", "loss of AUROC", "anew", "afresh"):
        found = re.search(rf"(?<!`)\b{word}\b(?!`)", prose, re.IGNORECASE)
        assert not found, f"{name}: {word!r}; see docs/glossary.md"


def test_every_command_has_an_example() -> None:
    assert {arguments[0] for _, arguments in commands()} >= set(cli.ORDER)


def test_a_page_that_is_wrong_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "wrong.md"
    from tests.docs.pages import Block

    for language, text in (
        ("sh", "dlrm-pl synthesize --output x --row 3\n"),
        ("sh", "make nothing\n"),
        ("sh", "false\n"),
        ("python", "import dlrm_pl\ndlrm_pl.nothing\n"),
        ("yaml", "criterion: {relativ: 0.1}\n"),
    ):
        with pytest.raises(PageError, match=r"^docs/wrong\.md:7: "):
            run_page([Block(page, 7, language, text)], slow=False)


def test_statements_of_a_shell_block_are_told_apart() -> None:
    text = "# a comment\ndlrm-pl x \\\n    --y 1\n\ncat > f <<'EOF'\n# text\nEOF\nls  # files\n"
    assert statements(text) == ["dlrm-pl x --y 1", "cat > f <<'EOF'\n# text\nEOF", "ls  # files"]
