"""A line of JSON with its number and a checksum, by which one that was altered, moved or copied there is found out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import DataFormatError


def seal(identity: Mapping[str, Any]) -> str:
    """What the checksums of all lines of one file begin with, so that no line of another file passes."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def sealed(values: Mapping[str, Any], number: int, seal: str) -> bytes:
    """The line, without its end: the values behind ``line``, which is the number, and before ``checksum``."""
    body = json.dumps({"line": number} | dict(values))
    checksum = hashlib.sha256((seal + body).encode()).hexdigest()[:16]
    return f'{body[:-1]}, "checksum": "{checksum}"}}'.encode()


def opened(line: bytes, seal: str) -> tuple[int, dict[str, Any] | None]:
    """The number that a line was written under, and its values; None where it is not as it was written."""
    try:
        values = parse_json(line, "a line of trials", DataFormatError, "")
        number = values.pop("line")
        del values["checksum"]
    except (DataFormatError, KeyError, TypeError, AttributeError):
        return 0, None
    # Byte for byte, so that no change is too small.
    return (number, values) if sealed(values, number, seal) == line else (0, None)
