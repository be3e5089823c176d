"""Raw click logs, plain or packed: read line by line. Needs NumPy alone."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import RECORD_INTS
from dlrm_pl.data.raw_logs.diagnosis import likely_format, open_log, repair_gz
from dlrm_pl.data.raw_logs.line import MAX_LINE_BYTES, BadLineError, Label, explain, parse_line, without_newline
from dlrm_pl.errors import DataFormatError

log = logging.getLogger(__name__)

RawRecords = npt.NDArray[np.int64]


def iter_raw_records(
    path: Path, max_ind_range: int, chunk_rows: int = 65_536, *, labelled: bool = True
) -> Iterator[RawRecords]:
    """Parse a log in chunks.

    Missing values become 0, negative dense values 0, categories ``int(hex, 16)``, modulo ``max_ind_range`` when
    that is positive; all as upstream does.

    Args:
        path: plain or ``.gz``; CRLF, a missing last newline and trailing blank lines are fine.
        max_ind_range: 0 or less: categories as they are, up to 2**32 - 1.
        chunk_rows: rows at a time.
        labelled: the label must be 0 or 1. Else it may be empty as well, and is then 0; or all lines lack it, as the
            first one shows by its 39 fields.

    Yields:
        int64 ``[<= chunk_rows, 40]``.

    Raises:
        DataFormatError: names file, line, field and the offending text; also for a missing or cut file.
    """
    rows: list[list[int]] = []
    blank_line = 0
    label: Label = "needed" if labelled else "optional"
    try:
        with open_log(path) as handle:
            for number, line in enumerate(_lines(handle), start=1):
                stripped = without_newline(line)
                if number == 1 and not labelled and stripped.count(b"\t") == RECORD_INTS - 2:
                    label = "absent"
                    log.info("%s: line 1 has %s fields: the log has no labels", path, RECORD_INTS - 1)
                if not stripped:
                    blank_line = blank_line or number
                    continue
                if blank_line:
                    raise DataFormatError(f"{path}:{blank_line}: {explain(b'')}.")
                try:
                    rows.append(parse_line(stripped, max_ind_range, label))
                except BadLineError as error:
                    hint = likely_format(path, labelled=labelled)
                    raise DataFormatError(f"{path}:{number}: {error}.{hint and f' {hint}'}") from None
                if len(rows) == chunk_rows:
                    yield np.array(rows, dtype=np.int64)
                    rows.clear()
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: there is no such raw log.") from error
    except IsADirectoryError as error:
        raise DataFormatError(f"{path}: is a folder. Name a raw log, plain or .gz.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFormatError(f"{path}: is cut short or damaged ({error}). {repair_gz(path)}") from error
    if rows:
        yield np.array(rows, dtype=np.int64)


def _lines(handle: BufferedIOBase) -> Iterator[bytes]:
    """Lines with their newlines; of one that is too long the beginning, and no more, which says that it is."""
    while line := handle.readline(MAX_LINE_BYTES + len(b"\r\n")):
        yield line
