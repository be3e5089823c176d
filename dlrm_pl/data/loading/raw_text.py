"""Rows of a raw log in blocks, parsed by the preprocessing engine: from a file, plain or gzipped, or from a pipe."""

from __future__ import annotations

import gzip
import io
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows, RawSparse
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS, TEXT_PADDING
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.raw_logs.diagnosis import likely_format, open_log, repair_gz
from dlrm_pl.data.raw_logs.line import Label, explain, longest_line, without_newline
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.destinations import descriptor_of, kind_of

log = logging.getLogger(__name__)

BLOCK_BYTES = 2 << 20
"""Size of a block of lines in bytes: small enough that its values stay in the cache until they have become ids."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class TextRows:
    """Rows of a block of lines.

    Attributes:
        rows: the values.
        text: the lines, each with its newline.
        label: whether the lines begin with a label: ``optional`` or ``absent``.
    """

    rows: RawRows
    text: memoryview
    label: Label


def text_rows(path: Path, columns: Columns) -> Iterator[TextRows]:
    """Parse a raw log whose labels may be missing: empty in some lines, or absent from all.

    Missing values and negative dense values become 0, and categories become 32-bit numbers.

    Args:
        path: raw log, plain or ``.gz``, or a pipe of either; CRLF, a missing last newline and trailing blank lines are
            accepted.
        columns: columns of the log, see ``Columns.has_raw_text``.

    Yields:
        Rows in order. The text and values of a block are valid until the next block is requested.

    Raises:
        DataFormatError: a line is invalid (the message names the file, line, field and text), or the file is missing or
            truncated.
    """
    parser = _Parser(path, columns)
    with _reading(path), _opened(path) as handle:
        for text in _blocks(handle, parser):
            rows = parser.parse(text)
            if rows.rows.num_rows:
                yield rows


class _Parser:
    """Parses one block of lines after the other, and knows the number of the next line."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self.columns = columns
        self.longest = longest_line(columns.record_ints)
        self.head = b""
        self._label: Label | None = None
        self._lines = 0
        self._blank = 0  # Line number of the first trailing blank line.
        self._engine = engine()
        # A line has at least a digit or a tab for every field, and a newline. Columns are an odd number of cache lines
        # apart, so that they do not compete for the same part of the cache.
        capacity = 16 * ((BLOCK_BYTES // columns.record_ints // 16 + 1) | 1)
        self._matrix = np.empty((columns.record_ints, capacity), np.int32)
        self._statistics = (
            np.zeros(columns.record_ints, np.int64),
            np.zeros((columns.num_dense, DENSE_BINS), np.int64),
            np.zeros(columns.num_dense, np.int64),
        )

    def parse(self, text: npt.NDArray[np.uint8]) -> TextRows:
        """Parse whole lines, which are followed by padding.

        Raises:
            DataFormatError: a line is invalid.
        """
        size = len(text) - TEXT_PADDING
        if self._label is None:
            self.head = text[: min(size, 1 << 16)].tobytes()
            self._label = self._label_of(self.head)
        if self._blank and text[:size].tobytes().strip(b"\r\n"):
            self._fail(self._blank, b"")
        bad = np.empty((2, 1), np.int64)
        count, lines, bads = self._engine.parse(text, size, 0, self._matrix, *self._statistics, bad, self._label)
        if bads and not self._blank:
            start, number = int(bad[0, 0]), self._lines + int(bad[1, 0]) + 1
            rest = text[start:size].tobytes()
            line = without_newline(rest[: rest.find(b"\n") + 1])
            if line or rest.strip(b"\r\n"):
                self._fail(number, line)
            self._blank = number
        self._lines += lines
        columns, matrix = self.columns, self._matrix[:, :count]
        categories = matrix[columns.sparse_fields].view(np.uint32).astype(np.int64)
        dense = tuple(RawDense(values) for values in matrix[columns.dense_fields])
        return TextRows(RawRows(matrix[0], dense, tuple(map(RawSparse, categories))), text[:size].data, self._label)

    def fail_long(self, beginning: bytes) -> None:
        """Raise the error for a line that is longer than a block."""
        self._label = self._label or self._label_of(beginning)
        self.head = self.head or beginning
        self._fail(self._lines + 1, beginning)

    def _label_of(self, head: bytes) -> Label:
        first = without_newline(head[: head.find(b"\n") + 1])
        if first.count(b"\t") != self.columns.record_ints - 2:
            return "optional"
        log.info("%s: line 1 has %s fields, so the log has no labels", self.path, self.columns.record_ints - 1)
        return "absent"

    def _fail(self, number: int, line: bytes) -> None:
        assert self._label is not None
        error = explain(line, self._label, columns=self.columns)
        hint = likely_format(self.path, labelled=False, columns=self.columns, head=self.head) if line else ""
        raise DataFormatError(f"{self.path}:{number}: {error}.{hint and f' {hint}'}")


def _blocks(handle: BufferedIOBase, parser: _Parser) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield whole lines in one buffer, the last with a newline, followed by padding."""
    buffer = np.zeros(BLOCK_BYTES + 1 + TEXT_PADDING, np.uint8)
    view, kept, ended = buffer.data, 0, False
    while not ended:
        size = kept
        while size < BLOCK_BYTES:
            read = handle.readinto(view[size:BLOCK_BYTES])
            if not read:
                ended = True
                break
            size += read
        if ended:
            if size and buffer[size - 1] != ord("\n"):
                buffer[size] = ord("\n")
                size += 1
            whole = size
        else:
            whole = _after_last_newline(buffer[:size], parser.longest)
        if not whole and not ended:
            parser.fail_long(buffer[:size].tobytes())
        if whole:
            # The padding only has to be readable; it is not parsed, so whatever follows in the buffer will do.
            yield buffer[: whole + TEXT_PADDING]
        kept = size - whole
        buffer[:kept] = buffer[whole:size].copy()


def _after_last_newline(text: npt.NDArray[np.uint8], longest: int) -> int:
    """Return the place after the last newline; 0 if there is none."""
    for start in (max(0, len(text) - longest - 2), 0):
        place = text[start:].tobytes().rfind(b"\n")
        if place >= 0:
            return start + place + 1
    return 0


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """Open a log; one that comes through a pipe may be gzipped, whatever its name."""
    if kind_of(path) != "sink":
        with open_log(path) as handle:
            yield handle
        return
    descriptor = descriptor_of(path)
    with open(path if descriptor is None else os.dup(descriptor), "rb") as pipe:
        packed = path.suffix == ".gz" or pipe.peek(len(_GZIP)).startswith(_GZIP)
        yield cast(BufferedIOBase, io.BufferedReader(gzip.GzipFile(fileobj=pipe))) if packed else pipe


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the log in the errors of a file that cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: no such raw log.") from error
    except IsADirectoryError as error:
        raise DataFormatError(f"{path}: is a folder; expected a raw log, plain or .gz.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        advice = "Write it again." if kind_of(path) == "sink" else repair_gz(path)
        raise DataFormatError(f"{path}: is truncated or corrupt ({error}). {advice}") from error
