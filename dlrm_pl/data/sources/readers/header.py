"""First line of a CSV file: names of columns, and the character between them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dlrm_pl.data.sources.names import shown_name
from dlrm_pl.data.sources.readers.compression import open_unpacked, reading
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import DataFormatError

_MOST_BYTES = 1 << 20
_SEPARATORS = ",\t;|"
_MARK = b"\xef\xbb\xbf"
_SHOWN = 4


def read_header(
    path: Path, compression: str | None, wanted: Sequence[str], not_raw_text: str = ""
) -> tuple[list[str], str]:
    """Return the names in a CSV file's first line, and the separator.

    The separator is the one that gives the most wanted names; in doubt, it is a comma, or a tab if the file's name says
    so.

    Args:
        path: the file.
        compression: compression of the file.
        wanted: names of the columns that will be read.
        not_raw_text: name of a column that a raw log, which has no header, cannot have; "" if a raw log can have all
            columns.

    Raises:
        DataFormatError: the line is not a header.
    """
    with reading(path), open_unpacked(path, compression) as handle:
        head = handle.read(_MOST_BYTES)
    head = head.removeprefix(_MARK).lstrip(b"\r\n")
    line = head.splitlines()[0] if head else b""
    try:
        first_line = line.decode()
    except UnicodeDecodeError:
        raise DataFormatError(
            f"{path}: its header is not text in UTF-8: {shown(line[:60])}. Convert the file (iconv -f LATIN1 -t UTF-8)."
        ) from None
    # Of the following lines, only those inside a quoted name belong to the header.
    text = head.decode("utf-8", "replace")
    endings = [ending.lower() for ending in path.suffixes]
    is_tab = ".csv" not in endings and ("\t" in first_line or ".tsv" in endings)
    separators = sorted(_SEPARATORS, key=lambda separator: separator != ("\t" if is_tab else ","))
    headers = {separator: _fields(path, text, separator) for separator in separators}
    best = max(separators, key=lambda separator: len(set(wanted) & set(headers[separator])))
    names = headers[best]
    if not set(wanted) & set(names) and _are_values(names):
        shown_names = ", ".join(map(shown_name, names[:_SHOWN]))
        # Values in raw logs are separated by tabs.
        advice = (
            f" If it is a raw log, it cannot have the column {shown_name(not_raw_text)}: raw logs have integers with "
            "transform log1p, and hexadecimal values with a vocabulary."
            if not_raw_text and best == "\t"
            else ""
        )
        raise DataFormatError(
            f"{path}: has no header: its first line begins with {shown_names}, which are values. Put the names of "
            f"the columns in a line above it.{advice}"
        )
    return names, best


def _fields(path: Path, text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    except csv.Error as error:
        raise DataFormatError(f"{path}: its first line cannot be read as a header ({error}).") from None


def _are_values(names: Sequence[str]) -> bool:
    """Return whether strings look like values: some of them are numbers or empty."""
    return any(not name.strip() or _is_number(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
