"""JSON lines with a number and a checksum, which reveal lines that were altered, moved or copied from elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import DataFormatError


def seal(identity: Mapping[str, Any]) -> str:
    """Return the text that every checksum in a file covers, so that no line from another file is valid in it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def sealed(values: Mapping[str, Any], number: int, seal: str) -> bytes:
    """Write a line without its end: its number as ``line``, then the values, then ``checksum``."""
    body = json.dumps({"line": number} | dict(values))
    checksum = hashlib.sha256((seal + body).encode()).hexdigest()[:16]
    return f'{body[:-1]}, "checksum": "{checksum}"}}'.encode()


def opened(line: bytes, seal: str) -> tuple[int, dict[str, Any] | None]:
    """Read a line: the number that it was written with, and its values, which are None if it was altered."""
    try:
        values = parse_json(line, "a line of trials", DataFormatError, "")
        number = values.pop("line")
        del values["checksum"]
    except (DataFormatError, KeyError, TypeError, AttributeError):
        return 0, None
    # Compare byte for byte, so that any change is found.
    return (number, values) if sealed(values, number, seal) == line else (0, None)
