"""Strict JSON reader with limits on size, depth and numbers.

Python's reader accepts repeated keys, ``NaN``, numbers of any length and lone surrogates, which cause errors later, far
from the code that read the file. Here, each of these is an error that names the file and the place in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrm_pl.errors import DLRMError

MAX_BYTES = 16 << 20  # A hundred times the size of any file that this package writes.
MAX_DEPTH = 64
_MAX_INTEGER_BITS = 64


def read_json(path: Path, error: type[DLRMError], advice: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: JSON file.
        error: class of the error to raise.
        advice: sentence that says what to do about a corrupt file; ends the messages.
        max_bytes: largest size of the file.

    Raises:
        DLRMError: an ``error``: the file is missing, unreadable, too large, not JSON, or exceeds the limits.
    """
    return parse_json(read_text(path, error, advice, max_bytes=max_bytes), str(path), error, advice)


def object_with(path: Path, field: str) -> dict[str, Any] | None:
    """Return the JSON object in a file if it has the field; None if the file or the field is missing."""
    try:
        contents = read_json(path, DLRMError, "")
    except DLRMError:
        return None
    return contents if isinstance(contents, dict) and field in contents else None


def object_in(contents: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """Return the object in a field of another object; None if there is none."""
    value = contents.get(field)
    return value if isinstance(value, dict) else None


def parse_json(text: str | bytes, where: str, error: type[DLRMError], advice: str) -> Any:
    """Parse a JSON text whose size the caller has checked.

    Args:
        text: one JSON document.
        where: place of the text; begins the messages.
        error: class of the error to raise.
        advice: sentence that says what to do; ends the messages.

    Raises:
        DLRMError: an ``error``: the text is not JSON or exceeds the limits.
    """
    try:
        contents = json.loads(text, object_pairs_hook=_object)
        _check(contents)
    except RecursionError:
        reason = f"nested deeper than {MAX_DEPTH}"
    except json.JSONDecodeError as wrong:
        reason = f"line {wrong.lineno}, column {wrong.colno}: {wrong.msg}"
    except ValueError as wrong:  # Includes UnicodeDecodeError, and the error for an int of thousands of digits.
        reason = str(wrong)
    else:
        return contents
    raise error(f"{where}: cannot be read as JSON ({reason}). {advice}")


def read_text(path: Path, error: type[DLRMError], advice: str, *, max_bytes: int) -> str:
    """Read a UTF-8 file of at most ``max_bytes``, even if it grows or is endless.

    Raises:
        DLRMError: an ``error``: the file is missing, unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise error(f"{path}: has more than {max_bytes:,} bytes, too many for this kind of file. {advice}")
        return data.decode("utf-8")
    except OSError as wrong:
        raise error(f"{path}: cannot be read ({wrong.strerror}). {advice}") from wrong
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise error(f"{path}: line {line} is not UTF-8 text ({wrong.reason}). {advice}") from wrong


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return values


def _check(contents: Any) -> None:
    """Refuse documents that are nested too deeply, and values that this package never writes."""
    remaining: list[tuple[Any, tuple[str | int, ...]]] = [(contents, ())]
    while remaining:
        value, path = remaining.pop()
        if isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                raise RecursionError
            if isinstance(value, list) and _is_plain(value):
                continue
            for key in value if isinstance(value, dict) else ():
                _check_text(key, path)
            items = value.items() if isinstance(value, dict) else enumerate(value)
            remaining.extend((child, (*path, key)) for key, child in items)
        elif isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{_name(path)} is {value}, which is not a JSON number")
        elif isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            raise ValueError(f"{_name(path)} is a number of more than {_MAX_INTEGER_BITS} bits")


def _is_plain(values: list[Any]) -> bool:
    """Whether a list has nothing but numbers, or nothing but texts, that are all right; found ten times as fast."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return all(map(str.isascii, values))
    if not kinds or not kinds <= {int, float}:
        return False
    integers = values if kinds == {int} else [value for value in values if type(value) is int]
    if integers and max(max(integers), -min(integers)).bit_length() > _MAX_INTEGER_BITS:
        return False
    return kinds == {int} or all(map(math.isfinite, values))


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as wrong:
            raise ValueError(f"{_name(path)} has a lone surrogate, \\u{ord(text[wrong.start]):04x}") from wrong


def _name(path: tuple[str | int, ...]) -> str:
    """Return a path such as ``splits.train.0`` for a message, in ASCII."""
    return ascii(".".join(map(str, path)))[1:-1] or "the document"
