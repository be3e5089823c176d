"""Raw click logs: one tab-separated line -> 40 integers. Needs NumPy alone."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import NUM_DENSE
from dlrm_pl.data.binary_format import RECORD_INTS
from dlrm_pl.errors import DataFormatError

RawRecords = npt.NDArray[np.int64]

_INT32 = np.iinfo(np.int32)
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_FOREIGN = re.compile(rb"[^0-9a-fA-F\t-]")
_FIRST_SPARSE = 1 + NUM_DENSE


class BadLineError(ValueError):
    """A line that is no row; its file and number are known elsewhere.

    Args:
        kind: one of a few words, to count by.
        reason: what is wrong, with the field and the offending text.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def iter_raw_records(
    path: Path, max_ind_range: int, chunk_rows: int = 65_536, *, labelled: bool = True
) -> Iterator[RawRecords]:
    """Parse a log in chunks.

    Missing values become 0, negative dense values 0, categories ``int(hex, 16)``, modulo ``max_ind_range`` when
    that is positive; all as in the reference.

    Args:
        path: plain or ``.gz``; CRLF, a missing last newline and trailing blank lines are fine.
        max_ind_range: 0 or less: categories as they are, up to 2**32 - 1.
        chunk_rows: rows at a time.
        labelled: the label must be 0 or 1; else it may be empty as well, and is then 0.

    Yields:
        int64 ``[<= chunk_rows, 40]``.

    Raises:
        DataFormatError: names file, line, field and the offending text; also for a missing or cut file.
    """
    rows: list[list[int]] = []
    blank_line = 0
    try:
        with open_log(path) as handle:
            for number, line in enumerate(handle, start=1):
                stripped = without_newline(line)
                if not stripped:
                    blank_line = blank_line or number
                    continue
                if blank_line:
                    raise DataFormatError(f"{path}:{blank_line}: {explain(b'')}.")
                try:
                    rows.append(parse_line(stripped, max_ind_range, labelled=labelled))
                except BadLineError as error:
                    raise DataFormatError(f"{path}:{number}: {error}.") from None
                if len(rows) == chunk_rows:
                    yield np.array(rows, dtype=np.int64)
                    rows.clear()
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: there is no such raw log.") from error
    except IsADirectoryError as error:
        raise DataFormatError(f"{path}: is a folder. Name a raw log, plain or .gz.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFormatError(f"{path}: is cut short or damaged ({error}). Download it again.") from error
    if rows:
        yield np.array(rows, dtype=np.int64)


def open_log(path: Path) -> BinaryIO:
    """Open a plain or gzipped log for reading bytes."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def parse_line(line: bytes, max_ind_range: int, *, labelled: bool = True) -> list[int]:
    """Parse one line, without its newline, into 40 integers.

    Raises:
        BadLineError: says what is wrong.
    """
    fields = line.split(b"\t")
    if len(fields) != RECORD_INTS:
        raise explain(line)
    try:
        # The fast path: everything well-formed. Whatever it refuses is looked at again, field by field.
        values = [int(field) if field else 0 for field in fields[:_FIRST_SPARSE]]
        values += [int(field, 16) if field else 0 for field in fields[_FIRST_SPARSE:]]
    except ValueError:
        raise explain(line) from None
    if fields[0] not in (b"0", b"1") and (labelled or fields[0]):
        raise explain(line)
    if max(values[1:_FIRST_SPARSE]) > _INT32.max or min(values[1:_FIRST_SPARSE]) < _INT32.min:
        raise explain(line)
    # int() also takes blanks, underscores, a plus sign, 0x and -0, which no log has.
    if max(map(len, fields[_FIRST_SPARSE:])) > 8 or _FOREIGN.search(line):
        raise explain(line)
    for index in range(1, _FIRST_SPARSE):
        values[index] = max(values[index], 0)
    if b"-" in line and any(b"-" in field for field in fields[_FIRST_SPARSE:]):
        raise explain(line)
    if max_ind_range > 0:
        values[_FIRST_SPARSE:] = [value % max_ind_range for value in values[_FIRST_SPARSE:]]
    return values


def explain(line: bytes) -> BadLineError:
    """Find what is wrong with a line that cannot be parsed."""
    fields = line.split(b"\t")
    if not line:
        return BadLineError("blank", "is blank, but rows follow it")
    if len(fields) != RECORD_INTS:
        return BadLineError("fields", f"has {len(fields)} fields, {RECORD_INTS} are needed")
    for index, field in enumerate(fields):
        where = f"field {index + 1}"
        if index == 0 and field not in (b"0", b"1"):
            return BadLineError("label", f"{where} (label) is {_text(field)}, 0 or 1 is needed")
        if 0 < index < _FIRST_SPARSE:
            digits = field.removeprefix(b"-")
            if field and not (digits.isdigit() and digits.isascii()):
                return BadLineError("integer", f"{where} (I{index}) is {_text(field)}, an integer is needed")
            if field and not _INT32.min <= int(field) <= _INT32.max:
                return BadLineError("range", f"{where} (I{index}) is {_text(field)}, beyond 32 bits")
        if index >= _FIRST_SPARSE and (len(field) > 8 or not _HEX_DIGITS.issuperset(field)):
            return BadLineError(
                "category",
                f"{where} (C{index - NUM_DENSE}) is {_text(field)}, up to 8 hexadecimal digits are needed",
            )
    return BadLineError("line", "cannot be read")


def without_newline(line: bytes) -> bytes:
    """A line without its newline, of Unix or DOS."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _text(field: bytes) -> str:
    """The offending text, quoted, and not too much of it."""
    return repr(field[:40].decode("utf-8", "backslashreplace"))
