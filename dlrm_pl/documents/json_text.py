"""JSON, read with limits: of bytes, of depth, of numbers; what JSON itself leaves open is refused.

Python's reader takes a key twice, ``NaN``, numbers of any length and half a character; what is made of them goes wrong
far from the file. All of that is an error here, with the file and the place in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrm_pl.errors import DLRMError

MAX_BYTES = 16 << 20  # A hundred times what any file of ours has.
MAX_DEPTH = 64
_MAX_INTEGER_BITS = 64


def read_json(path: Path, error: type[DLRMError], advice: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a file.

    Args:
        path: of the file.
        error: to raise.
        advice: what to do about a damaged file, as a sentence; ends the messages.
        max_bytes: of the file.

    Raises:
        DLRMError: ``error``: missing or unreadable, too large, not JSON, or beyond the limits.
    """
    return parse_json(read_text(path, error, advice, max_bytes=max_bytes), str(path), error, advice)


def object_with(path: Path, field: str) -> dict[str, Any] | None:
    """Return the JSON object in a file if it has a field; None if there is no such file or field."""
    try:
        contents = read_json(path, DLRMError, "")
    except DLRMError:
        return None
    return contents if isinstance(contents, dict) and field in contents else None


def object_in(contents: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """Return the object in a field of another object; None if there is none."""
    found = contents.get(field)
    return found if isinstance(found, dict) else None


def parse_json(text: str | bytes, where: str, error: type[DLRMError], advice: str) -> Any:
    """Read a text, whose size the caller has looked at.

    Args:
        text: of one document.
        where: it stands; begins the messages.
        error: to raise.
        advice: what to do about it; ends the messages.

    Raises:
        DLRMError: ``error``: not JSON, or beyond the limits.
    """
    try:
        contents = json.loads(text, object_pairs_hook=_object)
        _check(contents)
    except RecursionError:
        reason = f"nested deeper than {MAX_DEPTH}"
    except json.JSONDecodeError as wrong:
        reason = f"line {wrong.lineno}, column {wrong.colno}: {wrong.msg}"
    except ValueError as wrong:  # UnicodeDecodeError, and an int of thousands of digits, are such.
        reason = str(wrong)
    else:
        return contents
    raise error(f"{where}: cannot be read as JSON ({reason}). {advice}")


def read_text(path: Path, error: type[DLRMError], advice: str, *, max_bytes: int) -> str:
    """Read a file of text, of no more than a number of bytes, which a file that grows or has no end is not either.

    Raises:
        DLRMError: ``error``: missing or unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise error(f"{path}: has more than {max_bytes:,} bytes, too many for such a file. {advice}")
        return data.decode("utf-8")
    except OSError as wrong:
        raise error(f"{path}: cannot be read ({wrong.strerror}). {advice}") from wrong
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise error(f"{path}: line {line}: is not text in UTF-8 ({wrong.reason}). {advice}") from wrong


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values


def _check(contents: Any) -> None:
    """Refuse what is nested too deeply, and values that nothing of ours writes."""
    remaining: list[tuple[Any, tuple[str | int, ...]]] = [(contents, ())]
    while remaining:
        value, path = remaining.pop()
        if isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                raise RecursionError
            for key in value if isinstance(value, dict) else ():
                _check_text(key, path)
            items = value.items() if isinstance(value, dict) else enumerate(value)
            remaining.extend((child, (*path, key)) for key, child in items)
        elif isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{_name(path)} is {value}, which is no number of JSON")
        elif isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            raise ValueError(f"{_name(path)} is a number of more than {_MAX_INTEGER_BITS} bits")


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as wrong:
            raise ValueError(f"{_name(path)} has half a character, \\u{ord(text[wrong.start]):04x}") from wrong


def _name(path: tuple[str | int, ...]) -> str:
    """``splits.train.0``, in which no other half a character is printed."""
    return ascii(".".join(map(str, path)))[1:-1] or "the document"
