"""The pages of the documentation, split into their fenced blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "deploy/*.md") for path in ROOT.glob(pattern)
)
LANGUAGES = {"sh", "python", "yaml", "text", "pycon"}
"""Allowed languages of a block; ``text`` is output, and ``pycon`` is copied from a docstring, whose tests run it."""
MARKS = ("parse only", "slow")
"""Marks that a comment above a block may have, followed by a colon and a reason."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- ([a-z ]+): [^>]+ -->\s*\Z")
_FILE_NAME = re.compile(r"# ([\w-]+\.\w+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def place(self) -> str:
        """Position for messages, for example ``docs/serving.md:12``."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """Name under which a reader saves the block: its first line is a comment that contains only the name."""
        match = _FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return match[1] if match else None


def blocks_of(page: Path) -> list[Block]:
    """Return all fenced blocks of a page, in order."""
    text = page.read_text()
    default = "slow" if re.search(r"<!-- slow page: [^>]+ -->", text) else ""
    blocks = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text, 0, match.start())
        mark = comment[1] if comment else default
        blocks.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2], mark))
    return blocks


def setup_of(page: Path) -> str | None:
    """Return the name in a page's hidden comment ``<!-- set-up: NAME -->``."""
    match = re.search(r"<!-- set-up: (\S+) -->", page.read_text())
    return match[1] if match else None


def statements(text: str) -> list[str]:
    """Return the statements of a shell block, with continued lines and here-documents joined, without comments."""
    found: list[str] = []
    lines = iter(re.sub(r"\\\n\s*", "", text).splitlines())
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := re.search(r"<<'?(\w+)'?", line):
            for more in lines:
                line += f"\n{more}"
                if more == match[1]:
                    break
        found.append(line)
    return found


def command_of(statement: str) -> list[str] | None:
    """Return the arguments of a statement that runs this program, or None for others."""
    try:
        words = shlex.split(statement.partition("\n")[0], comments=True)
    except ValueError:
        return None
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[:1] == ["dlrm-pl"]:
        return words[1:]
    if words[:2] == ["python", "cli.py"]:
        return words[2:]
    return None


def commands() -> list[tuple[Block, list[str]]]:
    """Return every command of this program on any page, whatever its block's mark."""
    return [
        (block, arguments)
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "sh"
        for statement in statements(block.text)
        if (arguments := command_of(statement)) is not None
    ]
