"""YAML reader with limits.

Ten lines of YAML, each with ten aliases of the line before, expand to ten billion values, and lists nested a thousand
levels deep exceed Python's recursion limit. Both are detected in the parser's events, before any value is made. So are
duplicate keys in a mapping, which YAML forbids but PyYAML accepts: it silently drops the first value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dlrm_pl.documents.json_text import read_text
from dlrm_pl.errors import DLRMError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 10_000  # The whole configuration of a run has a few hundred.
_MAX_DIGITS = 40
_NUMBER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0b[01_]+|[0-9_:]+)")
_MERGE = "tag:yaml.org,2002:merge"
_RESOLVER: Any = yaml.SafeLoader("")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Uses libyaml if PyYAML was built with it.


class LimitError(yaml.YAMLError):
    """A document beyond the limits, or with a value that YAML's syntax allows but Python cannot make."""


@dataclass
class _Size:
    """Size of a value with its aliases expanded."""

    values: int = 1
    depth: int = 0


@dataclass
class _Keys:
    """Keys of an open mapping with their lines, and whether the next value is a key."""

    lines: dict[tuple[str, str], str] = field(default_factory=dict)
    is_next: bool = True


def read_yaml(path: Path, error: type[DLRMError], advice: str, tags: Sequence[str] = ()) -> Any:
    """Read a YAML file.

    Args:
        path: YAML file.
        error: class of the error to raise.
        advice: sentence that says what to do; ends the messages.
        tags: application tags that may precede mappings, such as ``!Name``; they are ignored.

    Raises:
        DLRMError: an ``error``: the file is missing, unreadable, too large, not YAML, or exceeds the limits.
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
        raise LimitError(f"line {node.start_mark.line + 1}: {node.tag} must be followed by a mapping")
    return loader.construct_mapping(node, deep=True)


def parse_yaml(text: str, load: Callable[[str], Any] = yaml.safe_load) -> Any:
    """Parse a YAML text.

    Args:
        text: one YAML document.
        load: function that makes the values of the text after it has been checked.

    Raises:
        yaml.YAMLError: the text is not YAML, exceeds the limits, or has an invalid value.
    """
    check_yaml(text)
    try:
        return load(text)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as wrong:
        # PyYAML raises no YAMLError for `2001-99-99`, `!!float x` and `!!bool x`.
        raise LimitError(f"it has an invalid value: {wrong}") from wrong


def reason_of(error: yaml.YAMLError) -> str:
    """Return the reason why a document cannot be read, on one line."""
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or getattr(error, "context", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def check_yaml(text: str) -> None:
    """Check a YAML text without making its values.

    Raises:
        yaml.YAMLError: the text is not YAML or exceeds the limits; the message names the line.
    """
    if len(text) > MAX_BYTES:
        raise LimitError(f"a document of {len(text):,} characters, more than {MAX_BYTES:,}")
    anchors: dict[str, _Size] = {}
    mappings: list[_Keys | None] = [None]  # One per open value; None for a sequence.
    open_values = [(_Size(), "")]  # From the outermost value inwards, each with its anchor.

    def close(event: Any, size: _Size, anchor: str | None) -> None:
        if anchor:
            anchors[anchor] = size
        outer = open_values[-1][0]
        outer.values += size.values
        outer.depth = max(outer.depth, size.depth + 1)
        if outer.values > MAX_VALUES:
            raise LimitError(
                f"{_line(event)}: more than {MAX_VALUES:,} values, counting all values that the aliases stand for"
            )
        if outer.depth + len(open_values) > MAX_DEPTH:
            raise LimitError(f"{_line(event)}: nested deeper than {MAX_DEPTH}")

    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.NodeEvent):
            _check_key(event, mappings[-1])
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            open_values.append((_Size(), event.anchor or ""))
            mappings.append(_Keys() if isinstance(event, yaml.MappingStartEvent) else None)
            if len(open_values) > MAX_DEPTH:
                raise LimitError(f"{_line(event)}: nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            mappings.pop()
            close(event, *open_values.pop())
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > _MAX_DIGITS and _NUMBER.fullmatch(event.value) and event.implicit[0]:
                raise LimitError(f"{_line(event)}: a number of {len(event.value):,} digits")
            close(event, _Size(), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise LimitError(
                    f"{_line(event)}: the alias *{event.anchor} refers to no earlier anchor, or to a value that "
                    "encloses it"
                )
            close(event, anchors[event.anchor], None)


def _check_key(event: yaml.NodeEvent, mapping: _Keys | None) -> None:
    """Note a value that begins in a mapping, or in a sequence (None); refuse it if it is a key for the second time."""
    if mapping is None:
        return
    is_key, mapping.is_next = mapping.is_next, not mapping.is_next
    if not is_key or not isinstance(event, yaml.ScalarEvent):
        return
    key = event.tag or str(_RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)), event.value
    if key in mapping.lines and key[0] != _MERGE:
        raise LimitError(f"{_line(event)}: the key {event.value!r} occurs twice, first on {mapping.lines[key]}")
    mapping.lines[key] = _line(event)


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
