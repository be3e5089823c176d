"""Chunks of whole lines, which threads claim from the logs in order and load in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.engine.native import TEXT_PADDING
from dlrm_pl.data.preprocessing.logs.days import Day, line_at, reading
from dlrm_pl.data.raw_logs.diagnosis import likely_format, open_log
from dlrm_pl.data.raw_logs.line import explain
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import read_at, read_into

_NEWLINE = ord("\n")
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one day.

    Attributes:
        index: number of the chunk, from 0 over all days.
        day: number of the day.
        start: first byte of the chunk in the day's text.
        stop: byte after the last one.
        ends_day: whether this is the last chunk of its day.
        plain: log to read the text from; None if the text has already been read.
    """

    index: int
    day: int
    start: int
    stop: int
    ends_day: bool
    plain: PlainLog | None

    @property
    def size(self) -> int:
        """Size of the text in bytes."""
        return self.stop - self.start


class PlainLog:
    """An uncompressed log that any thread may read at any offset; closed with the last chunk that needs it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill memory with the bytes at an offset.

        Raises:
            DataFormatError: the file was truncated in the meantime.
        """
        count = read_at(self._descriptor, view, offset)
        if count < len(view):
            raise DataFormatError(f"{self.path}: was truncated while it was being read, at byte {offset + count:,}.")

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from one offset to another."""
        return os.pread(self._descriptor, stop - start, start)


class ChunkReader:
    """Divides the days into chunks of whole lines.

    Only one thread at a time may ``claim`` a chunk, but several may ``load`` theirs at once. The text of a ``.gz`` log
    can only be unpacked in order, so ``claim`` unpacks it.

    Args:
        days: logs of each day, in order.
        columns: columns of the log.
        chunk_bytes: size of a buffer without its padding.
        day: number of the first day to read.
        offset: byte of that day's text to start at, which must be the beginning of a line; None for the day's
            beginning.
    """

    def __init__(
        self, days: Sequence[Day], columns: Columns, chunk_bytes: int, day: int = 0, offset: int | None = None
    ) -> None:
        self._days = days
        self._columns = columns
        self._chunk_bytes = chunk_bytes
        self._plain: PlainLog | None = None
        self._handle: BufferedIOBase | None = None  # Open .gz file.
        self._path: Path | None = None
        self._position = 0  # Position of the handle.
        self._carry = b""  # Text after the last chunk that has already been read.
        self._index = 0
        # Size of the next chunk. The first is half as large, so that two threads are not always at the same stage.
        self._wanted = chunk_bytes // 2
        self.day = day
        self.offset = days[day].start if offset is None and day < len(days) else offset or 0

    def buffer(self) -> npt.NDArray[np.uint8]:
        """Return memory for a chunk."""
        return np.zeros(self._chunk_bytes + 1 + TEXT_PADDING, np.uint8)

    def claim(self, buffer: npt.NDArray[np.uint8]) -> Chunk | None:
        """Claim the next chunk, to be loaded into this buffer; None at the end of the last day.

        Raises:
            DataFormatError: a file is missing, truncated or corrupt, or has a line that is longer than a chunk.
        """
        if self.day == len(self._days):
            self.close()
            return None
        day, start = self._days[self.day], self.offset
        with reading(day.path):
            if day.path.suffix == ".gz":
                stop, ends_day = self._unpack(day, buffer)
                plain = None
            else:
                if self._plain is None or self._plain.path != day.path:
                    self._plain = PlainLog(day.path)
                plain = self._plain
                end = max(start, plain.size if day.stop is None else min(day.stop, plain.size))
                stop = min(start + self._wanted, end)
                ends_day = stop == end
                if not ends_day:
                    stop = _line_end(plain.read, start, stop)
        if stop == start and not ends_day:
            beginning = plain.read(start, start + self._wanted) if plain else buffer[: self._wanted].tobytes()
            where = f"{day.path}:{line_at(day.path, start)}"
            hint = likely_format(day.path, columns=self._columns)
            raise DataFormatError(f"{where}: {explain(beginning, columns=self._columns)}. {hint}".rstrip())
        chunk = Chunk(self._index, self.day, start, stop, ends_day, plain)
        self._index += 1
        self._wanted = self._chunk_bytes
        self.offset = stop
        if ends_day:
            self.day += 1
            if self.day < len(self._days):
                self.offset = self._days[self.day].start
        return chunk

    @staticmethod
    def load(chunk: Chunk, buffer: npt.NDArray[np.uint8]) -> int:
        """Read a claimed chunk's text into its buffer, with a newline after every line; returns the number of bytes.

        Raises:
            DataFormatError: the file was truncated in the meantime.
        """
        size = chunk.size
        if chunk.plain is not None:
            chunk.plain.read_into(buffer.data[:size], chunk.start)
        if size and buffer[size - 1] != _NEWLINE:
            buffer[size] = _NEWLINE
            size += 1
        return size

    def close(self) -> None:
        """Close the open file."""
        if self._handle is not None:
            self._handle.close()
        self._handle = None
        self._path = None
        self._plain = None

    def _unpack(self, day: Day, buffer: npt.NDArray[np.uint8]) -> tuple[int, bool]:
        """Fill a buffer from a ``.gz``; returns the end of its whole lines, and whether the day ends there."""
        size = self._fill(day, buffer)
        if size < self._wanted or (day.stop is not None and self.offset + size >= day.stop):
            self._carry = b""
            return self.offset + size, True
        whole = _line_end(lambda start, stop: buffer[start:stop].tobytes(), 0, size)
        self._carry = buffer[whole:size].tobytes()
        return self.offset + whole, False

    def _fill(self, day: Day, buffer: npt.NDArray[np.uint8]) -> int:
        size = len(self._carry)
        if self._path != day.path or self._position != self.offset + size:
            self.close()
            self._handle = open_log(day.path)
            self._path = day.path
            self._carry = b""
            size = 0
            self._handle.seek(self.offset)  # A .gz must be unpacked up to the offset.
            self._position = self.offset
        assert self._handle is not None
        buffer[:size] = np.frombuffer(self._carry, np.uint8)
        end = self._wanted
        if day.stop is not None:
            end = min(end, day.stop - self.offset)
        count = read_into(self._handle, buffer.data[size:end])
        self._position += count
        return size + count


def _line_end(read: Callable[[int, int], bytes], start: int, stop: int) -> int:
    """Return the offset after the last newline between two offsets, or ``start`` if there is none."""
    window = _SAMPLE
    while True:
        first = max(start, stop - window)
        newline = read(first, stop).rfind(b"\n")
        if newline >= 0:
            return first + newline + 1
        if first == start:
            return start
        window *= 8
