"""One tab-separated line of a click log -> 40 integers, or what is wrong with it. Needs NumPy alone."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from dlrm_pl.batch import NUM_DENSE
from dlrm_pl.data.formats.binary_format import DENSE, RECORD_INTS, SPARSE

Label = Literal["needed", "optional", "absent"]
"""Of the lines of a log: 0 or 1; the same or empty; or they begin with the first dense feature."""

MAX_LINE_BYTES = 32_000
"""Of a line without its newline, in every log. A row has some 250 bytes, so that this is a log of another kind."""

_INT32 = np.iinfo(np.int32)
_INT_DIGITS = 4000  # Fewer than int() refuses to read.
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_FOREIGN = re.compile(rb"[^0-9a-fA-F\t-]")
_LEADING_ZEROS = re.compile(rb"^(-?)0+(?=[0-9])")
_SHOWN = 40  # Bytes of an offending text.


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
        BadLineError: says what is wrong.
    """
    fields = line.split(b"\t")
    if label == "absent":
        fields.insert(0, b"")
    if len(fields) != RECORD_INTS or len(line) > MAX_LINE_BYTES:
        raise explain(line, label)
    if len(line) > _INT_DIGITS:
        fields[DENSE] = [_LEADING_ZEROS.sub(rb"\1", field) for field in fields[DENSE]]
    try:
        # The fast path: everything well-formed. Whatever it refuses is looked at again, field by field.
        values = [int(field) if field else 0 for field in fields[: SPARSE.start]]
        values += [int(field, 16) if field else 0 for field in fields[SPARSE]]
    except ValueError:
        raise explain(line, label) from None
    if fields[0] not in (b"0", b"1") and (label == "needed" or fields[0]):
        raise explain(line, label)
    if max(values[DENSE]) > _INT32.max or min(values[DENSE]) < _INT32.min:
        raise explain(line, label)
    # int() also takes blanks, underscores, a plus sign, 0x and -0, which no log has.
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
    """Find what is wrong with a line, without its newline, that cannot be parsed."""
    if not line:
        return BadLineError("blank", "is blank, but rows follow it")
    if len(line) > MAX_LINE_BYTES:
        return BadLineError(
            "length",
            f"is longer than {MAX_LINE_BYTES:,} bytes, as no row of a click log is; it begins with "
            f"{_text(line[:_SHOWN])}",
        )
    fields = line.split(b"\t")
    absent = label == "absent"
    if len(fields) != RECORD_INTS - absent:
        needed = f"{RECORD_INTS - 1} are needed, since line 1 has no label" if absent else f"{RECORD_INTS} are needed"
        return BadLineError("fields", f"has {len(fields)} field{'s' if len(fields) > 1 else ''}, {needed}")
    for index, field in enumerate(fields, start=int(absent)):
        where = f"field {index + 1 - absent}"
        if index == 0 and field not in (b"0", b"1") and (label == "needed" or field):
            return BadLineError("label", f"{where} (label) is {_text(field)}, 0 or 1 is needed")
        if 0 < index < SPARSE.start:
            digits = field.removeprefix(b"-")
            if field and not digits.isdigit():
                return BadLineError("integer", f"{where} (I{index}) is {_text(field)}, an integer is needed")
            short = _LEADING_ZEROS.sub(rb"\1", field)
            if len(short) > _INT_DIGITS or (field and not _INT32.min <= int(short) <= _INT32.max):
                return BadLineError("range", f"{where} (I{index}) is {_text(field)}, beyond 32 bits")
        if index >= SPARSE.start and (len(field) > 8 or not _HEX_DIGITS.issuperset(field)):
            return BadLineError(
                "category",
                f"{where} (C{index - NUM_DENSE}) is {_text(field)}, up to 8 hexadecimal digits are needed",
            )
    return BadLineError("line", "cannot be read")


def without_newline(line: bytes) -> bytes:
    """Return a line without its newline, of Unix or DOS."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _text(field: bytes) -> str:
    """Return the offending text, quoted and shortened."""
    shown = repr(field[:_SHOWN].decode("utf-8", "backslashreplace"))
    return shown if len(field) <= _SHOWN else f"{shown}... ({len(field):,} bytes)"
