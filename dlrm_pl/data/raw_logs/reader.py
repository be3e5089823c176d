"""Read raw click logs, plain or gzip-compressed, line by line. Needs only NumPy."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.raw_logs.diagnosis import likely_format, open_log, repair_gz
from dlrm_pl.data.raw_logs.line import BadLineError, Label, explain, longest_line, parse_line, without_newline
from dlrm_pl.errors import DataFormatError

log = logging.getLogger(__name__)

RawRecords = npt.NDArray[np.int64]


def iter_raw_records(
    path: Path,
    max_ind_range: int,
    chunk_rows: int = 65_536,
    *,
    labelled: bool = True,
    columns: Columns | None = None,
) -> Iterator[RawRecords]:
    """Parse a raw log in chunks of rows.

    As in upstream (facebookresearch/dlrm), missing values and negative dense values become 0, and categories become
    ``int(hex, 16)``, modulo ``max_ind_range`` if that is positive.

    Args:
        path: raw log, plain or ``.gz``; CRLF, a missing last newline and trailing blank lines are accepted.
        max_ind_range: modulus of the categories; 0 or less keeps them unchanged, up to 2**32 - 1.
        chunk_rows: largest number of rows in a chunk.
        labelled: whether the label must be 0 or 1. If not, it may also be empty, which is read as 0, or missing from
            all lines, which is assumed if the first line has one field less.
        columns: columns of the log, see ``Columns.has_raw_text``; None for Criteo's.

    Yields:
        Records, int64 ``[<= chunk_rows, record_ints]``.

    Raises:
        DataFormatError: a line is invalid (the message names the file, line, field and text), or the file is missing or
            truncated.
    """
    rows: list[list[int]] = []
    blank_line = 0
    columns = columns or Columns.criteo()
    num_fields = columns.record_ints
    label: Label = "needed" if labelled else "optional"
    try:
        with open_log(path) as handle:
            for number, line in enumerate(_lines(handle, longest_line(num_fields)), start=1):
                stripped = without_newline(line)
                if number == 1 and not labelled and stripped.count(b"\t") == num_fields - 2:
                    label = "absent"
                    log.info("%s: line 1 has %s fields, so the log has no labels", path, num_fields - 1)
                if not stripped:
                    blank_line = blank_line or number
                    continue
                if blank_line:
                    raise DataFormatError(f"{path}:{blank_line}: {explain(b'')}.")
                try:
                    rows.append(parse_line(stripped, max_ind_range, label, columns=columns))
                except BadLineError as error:
                    hint = likely_format(path, labelled=labelled, columns=columns)
                    raise DataFormatError(f"{path}:{number}: {error}.{hint and f' {hint}'}") from None
                if len(rows) == chunk_rows:
                    yield np.array(rows, dtype=np.int64)
                    rows.clear()
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: no such raw log.") from error
    except IsADirectoryError as error:
        raise DataFormatError(f"{path}: is a folder; expected a raw log, plain or .gz.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFormatError(f"{path}: is truncated or corrupt ({error}). {repair_gz(path)}") from error
    if rows:
        yield np.array(rows, dtype=np.int64)


def _lines(handle: BufferedIOBase, longest: int) -> Iterator[bytes]:
    """Yield lines with their newlines; for a line that is too long, only its beginning, which is still too long."""
    while line := handle.readline(longest + len(b"\r\n")):
        yield line
