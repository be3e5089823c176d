"""Escape untrusted text for Markdown: no markup, no HTML, no links, no line breaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dlrm_pl.documents.fields import printable

_LITERAL = re.compile(r"[\w.,:;+%=()'/-]+(?: [\w.,:;+%=()'/-]+)*")
"""What a code span shows as it stands, also in the cell of a table."""
_PLAIN = frozenset(" .,;:%()+-='")
_INSIDE = re.compile(r"(?<=[^\W_])&#95;(?=[^\W_])")
"""An underscore inside a word, which is no markup."""
_ADDRESS = re.compile(r"www(?=\.)", re.IGNORECASE)


def prose(text: str) -> str:
    """Return a text for the middle of a line, with possible markup replaced by character references."""
    encoded = "".join(one if one.isalnum() or one in _PLAIN else f"&#{ord(one)};" for one in printable(text))
    return _INSIDE.sub("_", _ADDRESS.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", encoded))


def literal(text: str) -> str:
    """Return a name for the middle of a line: as a code span if that shows it unchanged, otherwise as ``prose``."""
    return f"`{text}`" if _LITERAL.fullmatch(text) else prose(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns, except the first, are right-aligned; cells are Markdown."""
    rule = "|".join(["---", *["---:"] * (len(columns) - 1)])
    lines = [f"| {' | '.join(columns)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)
