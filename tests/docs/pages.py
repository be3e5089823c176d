"""The pages of the documentation, cut into their fenced blocks."""

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
"""What a block may be; ``text`` is output, and ``pycon`` is copied from a docstring, whose tests run it."""
MARKS = ("parse only", "slow")
"""What a comment above a block may say, with a reason after a colon."""

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
        """``docs/serving.md:12``, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The file that a reader saves the block to: its first line is a comment with nothing but the name."""
        match = _FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return match[1] if match else None


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text()
    default = "slow" if re.search(r"<!-- slow page: [^>]+ -->", text) else ""
    blocks = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text, 0, match.start())
        mark = comment[1] if comment else default
        blocks.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2], mark))
    return blocks


def setup_of(page: Path) -> str | None:
    """What a page's hidden comment ``<!-- set-up: NAME -->`` asks for."""
    match = re.search(r"<!-- set-up: (\S+) -->", page.read_text())
    return match[1] if match else None


def statements(text: str) -> list[str]:
    """The statements of a shell block: continued lines and here-documents joined, comments left out."""
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
    """The arguments of a statement that runs this program, or None for any other."""
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
    """Every command of this program in any page, whatever its block's mark."""
    return [
        (block, arguments)
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "sh"
        for statement in statements(block.text)
        if (arguments := command_of(statement)) is not None
    ]
