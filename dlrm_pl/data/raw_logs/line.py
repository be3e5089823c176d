"""Parser of one tab-separated line of a click log, which explains the fault of an invalid one."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from dlrm_pl.data.formats.binary_format import DENSE, RECORD_INTS, SPARSE
from dlrm_pl.data.formats.criteo_counts import NUM_DENSE

Label = Literal["needed", "optional", "absent"]
"""Label of the lines of a log: 0 or 1; 0, 1 or empty; or lines begin with the first dense feature."""

MAX_LINE_BYTES = 32_000
"""Largest length of a line without its newline. A row has about 250 bytes; longer lines are of another format."""

_INT32 = np.iinfo(np.int32)
_INT_DIGITS = 4000  # Fewer than int() refuses to read.
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_FOREIGN = re.compile(rb"[^0-9a-fA-F\t-]")
_LEADING_ZEROS = re.compile(rb"^(-?)0+(?=[0-9])")
_QUOTED_BYTES = 40  # Largest part of an invalid text that a message quotes.


class BadLineError(ValueError):
    """A line that is not a row; the caller knows its file and number.

    Args:
        kind: kind of fault in one word, for counting.
        reason: description of the fault, with the field and the offending text.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def parse_line(line: bytes, max_ind_range: int, label: Label = "needed") -> list[int]:
    """Parse one line, without its newline, into 40 integers.

    Raises:
        BadLineError: the line is invalid; the message says why.
    """
    fields = line.split(b"\t")
    if label == "absent":
        fields.insert(0, b"")
    if len(fields) != RECORD_INTS or len(line) > MAX_LINE_BYTES:
        raise explain(line, label)
    if len(line) > _INT_DIGITS:
        fields[DENSE] = [_LEADING_ZEROS.sub(rb"\1", field) for field in fields[DENSE]]
    try:
        # Fast path for valid lines. ``explain`` examines a line that it refuses field by field.
        values = [int(field) if field else 0 for field in fields[: SPARSE.start]]
        values += [int(field, 16) if field else 0 for field in fields[SPARSE]]
    except ValueError:
        raise explain(line, label) from None
    if fields[0] not in (b"0", b"1") and (label == "needed" or fields[0]):
        raise explain(line, label)
    if max(values[DENSE]) > _INT32.max or min(values[DENSE]) < _INT32.min:
        raise explain(line, label)
    # int() also accepts spaces, underscores, a plus sign, 0x and -0, which no log has.
    if max(map(len, fields[SPARSE])) > 8 or _FOREIGN.search(line):
        raise explain(line, label)
    for index in range(1, SPARSE.start):
        values[index] = max(values[index], 0)
    if b"-" in line and any(b"-" in field for field in fields[SPARSE]):
        raise explain(line, label)
    if max_ind_range > 0:
        values[SPARSE] = [value % max_ind_range for value in values[SPARSE]]
    return values


def explain(line: bytes, label: Label = "needed") -> BadLineError:
    """Return the error for a line, given without its newline, that cannot be parsed."""
    if not line:
        return BadLineError("blank", "is blank, but more rows follow")
    if len(line) > MAX_LINE_BYTES:
        return BadLineError(
            "length",
            f"is longer than {MAX_LINE_BYTES:,} bytes, too long for a row of a click log; it begins with "
            f"{_text(line[:_QUOTED_BYTES])}",
        )
    fields = line.split(b"\t")
    absent = label == "absent"
    if len(fields) != RECORD_INTS - absent:
        expected = f"expected {RECORD_INTS - 1}, as line 1 has no label" if absent else f"expected {RECORD_INTS}"
        return BadLineError("fields", f"has {len(fields)} field{'s' if len(fields) > 1 else ''}; {expected}")
    for index, field in enumerate(fields, start=int(absent)):
        where = f"field {index + 1 - absent}"
        if index == 0 and field not in (b"0", b"1") and (label == "needed" or field):
            return BadLineError("label", f"{where} (label) is {_text(field)}; expected 0 or 1")
        if 0 < index < SPARSE.start:
            digits = field.removeprefix(b"-")
            if field and not digits.isdigit():
                return BadLineError("integer", f"{where} (I{index}) is {_text(field)}; expected an integer")
            short = _LEADING_ZEROS.sub(rb"\1", field)
            if len(short) > _INT_DIGITS or (field and not _INT32.min <= int(short) <= _INT32.max):
                return BadLineError("range", f"{where} (I{index}) is {_text(field)}, which does not fit in 32 bits")
        if index >= SPARSE.start and (len(field) > 8 or not _HEX_DIGITS.issuperset(field)):
            return BadLineError(
                "category",
                f"{where} (C{index - NUM_DENSE}) is {_text(field)}; expected up to 8 hexadecimal digits",
            )
    return BadLineError("line", "cannot be read")


def without_newline(line: bytes) -> bytes:
    """Return a line without its Unix or DOS newline."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _text(field: bytes) -> str:
    """Return an invalid text for a message, quoted and shortened."""
    quoted = repr(field[:_QUOTED_BYTES].decode("utf-8", "backslashreplace"))
    return quoted if len(field) <= _QUOTED_BYTES else f"{quoted}... ({len(field):,} bytes)"
