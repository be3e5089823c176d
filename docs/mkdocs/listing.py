"""A page that shows one file of the repository."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

_LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "sh", ".toml": "toml", ".service": "ini"}


def listing(path: str, text: str) -> str:
    """Return the page of a file. The cells of a notebook become text and code blocks.

    Args:
        path: path in the repository.
        text: contents.
    """
    head = f"---\ntitle: {path}\nsearch: {{exclude: true}}\n---\n\n"
    if path.endswith(".ipynb"):
        return f"{head}`{path}`\n\n" + "\n\n".join(_cell(cell) for cell in json.loads(text)["cells"])
    return f"{head}# `{path}`\n\n" + _fenced(text, _LANGUAGES.get(PurePosixPath(path).suffix, "text"))


def _cell(cell: dict[str, object]) -> str:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)  # type: ignore[call-overload]
    return _fenced(text, "python") if cell["cell_type"] == "code" else text


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
