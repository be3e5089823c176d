"""YAML, read with limits.

Ten lines of YAML, each an alias ten times over of the line before it, are ten billion values for whoever walks them,
and lists nested a thousand deep end in Python's recursion. Both are seen in the parser's events, before anything is
made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dlrm_pl.documents.json_text import read_text
from dlrm_pl.errors import DLRMError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 10_000  # A run's whole configuration has some hundred.
_MAX_DIGITS = 40
_NUMBER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0b[01_]+|[0-9_:]+)")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # By libyaml, where PyYAML was built with it.


class LimitError(yaml.YAMLError):
    """A document beyond the limits, or with a value that YAML's syntax allows and Python cannot make."""


@dataclass
class _Size:
    """Of a value, with what its aliases stand for."""

    values: int = 1
    depth: int = 0


def read_yaml(path: Path, error: type[DLRMError], advice: str, tags: Sequence[str] = ()) -> Any:
    """Read a file.

    Args:
        path: of the file.
        error: to raise.
        advice: what to do about it, as a sentence; ends the messages.
        tags: of the program whose file it is, as ``!Name``; each stands before a mapping, and is left out.

    Raises:
        DLRMError: ``error``: missing or unreadable, too large, not YAML, or beyond the limits.
    """
    text = read_text(path, error, advice, max_bytes=MAX_BYTES)
    try:
        return parse_yaml(text, partial(yaml.load, Loader=_loader_of(tags)))
    except yaml.YAMLError as wrong:
        raise error(f"{path}: cannot be read as YAML ({reason_of(wrong)}). {advice}") from wrong


def _loader_of(tags: Sequence[str]) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        pass

    for tag in tags:
        Loader.add_constructor(tag, _mapping)
    return Loader


def _mapping(loader: yaml.SafeLoader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise LimitError(f"line {node.start_mark.line + 1}: {node.tag} stands before something else than a mapping")
    return loader.construct_mapping(node, deep=True)


def parse_yaml(text: str, load: Callable[[str], Any] = yaml.safe_load) -> Any:
    """Read a text.

    Args:
        text: of one document.
        load: that makes the values of a text which was checked.

    Raises:
        yaml.YAMLError: not YAML, beyond the limits, or with a value that cannot be made.
    """
    check_yaml(text)
    try:
        return load(text)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as wrong:
        # Of `2001-99-99`, `!!float x` and `!!bool x` PyYAML makes no error of its own.
        raise LimitError(f"it has a value that cannot be made: {wrong}") from wrong


def reason_of(error: yaml.YAMLError) -> str:
    """Why a document cannot be read, on one line."""
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or getattr(error, "context", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def check_yaml(text: str) -> None:
    """Check a text without making anything of it.

    Raises:
        yaml.YAMLError: not YAML, or beyond the limits; with the line.
    """
    if len(text) > MAX_BYTES:
        raise LimitError(f"a document of {len(text):,} characters, more than {MAX_BYTES:,}")
    anchors: dict[str, _Size] = {}
    open_values = [(_Size(), "")]  # From the document inwards, with the anchor of each.

    def close(event: Any, size: _Size, anchor: str | None) -> None:
        if anchor:
            anchors[anchor] = size
        outer = open_values[-1][0]
        outer.values += size.values
        outer.depth = max(outer.depth, size.depth + 1)
        if outer.values > MAX_VALUES:
            raise LimitError(
                f"{_line(event)}: more than {MAX_VALUES:,} values, with each alias counted as all the "
                "values that it stands for"
            )
        if outer.depth + len(open_values) > MAX_DEPTH:
            raise LimitError(f"{_line(event)}: nested deeper than {MAX_DEPTH}")

    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            open_values.append((_Size(), event.anchor or ""))
            if len(open_values) > MAX_DEPTH:
                raise LimitError(f"{_line(event)}: nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            close(event, *open_values.pop())
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > _MAX_DIGITS and _NUMBER.fullmatch(event.value) and event.implicit[0]:
                raise LimitError(f"{_line(event)}: a number of {len(event.value):,} digits")
            close(event, _Size(), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise LimitError(
                    f"{_line(event)}: the alias *{event.anchor} stands for nothing before it, or for what it is part of"
                )
            close(event, anchors[event.anchor], None)


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
