"""Parse one tab-separated line of a click log, and explain the error in an invalid one."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from dlrm_pl.columns.columns import Columns

Label = Literal["needed", "optional", "absent"]
"""Label of the lines in a log: 0 or 1; 0, 1 or empty; or no label, so that lines begin with the first dense feature."""

_INT32 = np.iinfo(np.int32)
_INT_DIGITS = 4000  # Below the number of digits that int() refuses to parse.
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_FOREIGN = re.compile(rb"[^0-9a-fA-F\t-]")
_LEADING_ZEROS = re.compile(rb"^(-?)0+(?=[0-9])")
_QUOTED_BYTES = 40  # Maximum length that a message quotes of an invalid text.


class BadLineError(ValueError):
    """A line that is not a valid row; the caller knows its file and number.

    Args:
        kind: kind of error in one word, for counting.
        reason: description of the error, with the field and the offending text.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def longest_line(num_fields: int) -> int:
    """Return the largest length of a line without its newline, in bytes.

    A row has about 6 bytes per field; longer lines belong to another format.
    """
    return max(32_000, 24 * num_fields)


def parse_line(
    line: bytes, max_ind_range: int, label: Label = "needed", *, columns: Columns | None = None
) -> list[int]:
    """Parse one line, without its newline, into as many integers as a record has.

    Args:
        line: text of the line.
        max_ind_range: modulus of the categories; 0 or less keeps them unchanged.
        label: whether the line begins with a label.
        columns: columns of the log; None for Criteo's.

    Raises:
        BadLineError: the line is invalid; the message says why.
    """
    columns = columns or Columns.criteo()
    values = values_of_line(line, columns.num_dense, columns.num_sparse, max_ind_range, label)
    if values is None:
        raise explain(line, label, columns=columns)
    return values


def values_of_line(
    line: bytes,
    num_dense: int,
    num_sparse: int,
    max_ind_range: int,
    label: Label = "needed",
    *,
    keep_negatives: bool = False,
) -> list[int] | None:
    """Return the integers of one line as ``parse_line`` does, or None for an invalid line.

    With ``keep_negatives``, dense values below 0 stay unchanged.
    """
    fields = line.split(b"\t")
    if label == "absent":
        fields.insert(0, b"")
    first_sparse = 1 + num_dense
    if len(fields) != first_sparse + num_sparse or len(line) > longest_line(len(fields)):
        return None
    sparse = fields[first_sparse:]
    if len(line) > _INT_DIGITS:
        fields[1:first_sparse] = [_LEADING_ZEROS.sub(rb"\1", field) for field in fields[1:first_sparse]]
    try:
        # Fast for valid lines; ``explain`` examines invalid ones field by field.
        values = [int(field) if field else 0 for field in fields[:first_sparse]]
        categories = [int(field, 16) if field else 0 for field in sparse]
    except ValueError:
        return None
    if fields[0] not in (b"0", b"1") and (label == "needed" or fields[0]):
        return None
    dense = values[1:]
    if dense and (max(dense) > _INT32.max or min(dense) < _INT32.min):
        return None
    # int() also accepts spaces, underscores, a plus sign, 0x and -0, which do not occur in logs.
    if max(map(len, sparse)) > 8 or _FOREIGN.search(line):
        return None
    if b"-" in line and any(b"-" in field for field in sparse):
        return None
    if max_ind_range > 0:
        categories = [value % max_ind_range for value in categories]
    return [values[0], *(dense if keep_negatives else (max(value, 0) for value in dense)), *categories]


def explain(line: bytes, label: Label = "needed", *, columns: Columns | None = None) -> BadLineError:
    """Return the error for a line that cannot be parsed, given without its newline; arguments as for ``parse_line``."""
    columns = columns or Columns.criteo()
    num_fields, names = columns.record_ints, columns.names
    if not line:
        return BadLineError("blank", "is blank, although more rows follow")
    if len(line) > (longest := longest_line(num_fields)):
        return BadLineError(
            "length",
            f"is longer than {longest:,} bytes, too long for a row of a click log; it begins with "
            f"{_text(line[:_QUOTED_BYTES])}",
        )
    fields = line.split(b"\t")
    absent = label == "absent"
    if len(fields) != num_fields - absent:
        expected = f"expected {num_fields - 1}, as line 1 has no label" if absent else f"expected {num_fields}"
        return BadLineError("fields", f"has {len(fields)} field{'s' if len(fields) > 1 else ''}; {expected}")
    for index, field in enumerate(fields, start=int(absent)):
        where = f"field {index + 1 - absent} ({names[index]}) is {_text(field)}"
        if index == 0 and field not in (b"0", b"1") and (label == "needed" or field):
            return BadLineError("label", f"{where}; expected 0 or 1")
        if 0 < index <= columns.num_dense:
            digits = field.removeprefix(b"-")
            if field and not digits.isdigit():
                return BadLineError("integer", f"{where}; expected an integer")
            short = _LEADING_ZEROS.sub(rb"\1", field)
            if len(short) > _INT_DIGITS or (field and not _INT32.min <= int(short) <= _INT32.max):
                return BadLineError("range", f"{where}, which does not fit in 32 bits")
        if index > columns.num_dense and (len(field) > 8 or not _HEX_DIGITS.issuperset(field)):
            return BadLineError("category", f"{where}; expected up to 8 hexadecimal digits")
    return BadLineError("line", "cannot be read")


def without_newline(line: bytes) -> bytes:
    """Return a line without its Unix or DOS newline."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _text(field: bytes) -> str:
    """Return an invalid text for a message, quoted and shortened."""
    quoted = repr(field[:_QUOTED_BYTES].decode("utf-8", "backslashreplace"))
    return quoted if len(field) <= _QUOTED_BYTES else f"{quoted}... ({len(field):,} bytes)"
