"""The raw logs of each day: found, identified, and read in chunks of whole lines."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.raw_log import open_log
from dlrm_pl.errors import DataFormatError
from dlrm_pl.kernels.preprocess import TEXT_PADDING

_KAGGLE_DAYS = 7
_NEWLINE = ord("\n")
_BLOCK = 1 << 20
_SAMPLE = 1 << 16
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Day:
    """A day's log: a file, or a part of one.

    Attributes:
        path: plain or ``.gz``.
        start: first byte, of the text.
        stop: byte behind the last; None: the end of the file.
    """

    path: Path
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one day.

    Attributes:
        index: from 0, over all days.
        day: the day's number.
        start: byte of the day's text.
        stop: byte behind it.
        ends_day: no more lines of this day follow.
        plain: what to read it from; None when it has been read.
    """

    index: int
    day: int
    start: int
    stop: int
    ends_day: bool
    plain: PlainLog | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


def find_days(raw: Path, layout: str, days: int | None) -> list[Day]:
    """The days in order.

    Raises:
        DataFormatError: a file is missing or damaged, or there are too few days or rows.
    """
    if layout == "kaggle":
        return kaggle_days(raw, days or _KAGGLE_DAYS)
    return [Day(path) for path in day_files(raw, days)]


def day_files(prefix: Path, days: int | None) -> list[Path]:
    """``PREFIX_0``, ``PREFIX_1``, ..., plain or ``.gz``.

    Raises:
        DataFormatError: fewer than two, or one missing before a later one; names it.
    """
    numbers: dict[int, Path] = {}
    for path in sorted(prefix.parent.glob(f"{prefix.name}_*")):
        suffix = path.name.removeprefix(f"{prefix.name}_").removesuffix(".gz")
        if suffix.isdigit() and path.is_file():
            earlier = numbers.setdefault(int(suffix), path)
            if earlier != path:
                raise DataFormatError(f"{earlier} and {path} are the same day: keep one of them.")
    wanted = days if days is not None else max(numbers, default=-1) + 1
    for number in range(wanted):
        if number not in numbers:
            raise DataFormatError(f"{prefix}_{number}: is missing, plain or .gz; {wanted} days are needed in sequence.")
    if wanted < 2:
        raise DataFormatError(f"{prefix}_0, {prefix}_1, ...: {wanted} day files were found, at least 2 are needed.")
    return [numbers[number] for number in range(wanted)]


def kaggle_days(path: Path, count: int) -> list[Day]:
    """Cut one log into days of equal length, the first ones a row longer where it does not divide, as the reference.

    Raises:
        DataFormatError: missing, damaged, or with too few rows.
    """
    lines_by_block: list[int] = []
    last_text, size = 0, 0
    for block in _blocks(path):
        lines_by_block.append(int(np.count_nonzero(block == _NEWLINE)))
        text = np.flatnonzero((block != _NEWLINE) & (block != ord("\r")))
        if len(text):
            last_text = size + int(text[-1]) + 1
        size += len(block)
    # Trailing blank lines are no rows; the last row may have no newline.
    seen, rows = 0, 0
    for block in _blocks(path):
        if seen >= last_text:
            break
        rows += int(np.count_nonzero(block[: last_text - seen] == _NEWLINE))
        seen += len(block)
    rows += bool(last_text)
    if rows < 2 * count:
        raise DataFormatError(f"{path}: {rows} rows cannot be cut into {count} days of 2 rows or more.")
    ends = np.cumsum([rows // count + (day < rows % count) for day in range(count)])
    bounds, wanted, before, offset = [0], ends[:-1].tolist(), 0, 0
    for block, lines in zip(_blocks(path), lines_by_block, strict=True):
        while len(bounds) <= len(wanted) and before + lines >= wanted[len(bounds) - 1]:
            places = np.flatnonzero(block == _NEWLINE)
            bounds.append(offset + int(places[wanted[len(bounds) - 1] - before - 1]) + 1)
        before += lines
        offset += len(block)
    return [Day(path, start, stop) for start, stop in zip(bounds, [*bounds[1:], None], strict=True)]


def identity(files: Sequence[Path]) -> list[dict[str, Any]]:
    """What tells an input from a changed one: name, size, time of change, and a checksum of its ends, for JSON."""
    found = []
    for path in dict.fromkeys(files):
        status = path.stat()
        with path.open("rb") as handle:
            digest = hashlib.sha256(handle.read(_SAMPLE))
            handle.seek(max(0, status.st_size - _SAMPLE))
            digest.update(handle.read(_SAMPLE))
        found.append(
            {
                "file": str(path),
                "bytes": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "sha256_of_ends": digest.hexdigest(),
            }
        )
    return found


class PlainLog:
    """A log that is not compressed, read at any place by any thread. Closed with the last chunk that needs it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill memory with what is at a place.

        Raises:
            DataFormatError: the file has become shorter.
        """
        while view:
            got = os.preadv(self._descriptor, [view], offset)
            if not got:
                raise DataFormatError(f"{self.path}: was cut short while it was read, at byte {offset}.")
            view, offset = view[got:], offset + got

    def line_end(self, start: int, stop: int) -> int:
        """The place behind the last newline between two bytes; ``start`` when there is none."""
        window = _SAMPLE
        while True:
            first = max(start, stop - window)
            found = os.pread(self._descriptor, stop - first, first).rfind(b"\n")
            if found >= 0 or first == start:
                return first + found + 1 if found >= 0 else start
            window *= 8


class ChunkReader:
    """Cuts the days into chunks of whole lines, one after another.

    ``claim`` is for one thread at a time; ``load`` is not, so that threads copy the text of plain logs side by side.
    That of a ``.gz`` comes in its order, and with the claim.

    Args:
        days: in order.
        chunk_bytes: of a buffer, without its padding.
        day: to start with.
        offset: byte of that day's text to start at, where a line begins.
    """

    def __init__(self, days: Sequence[Day], chunk_bytes: int, day: int = 0, offset: int | None = None) -> None:
        self._days, self._chunk_bytes = days, chunk_bytes
        self._plain: PlainLog | None = None
        self._handle: BinaryIO | None = None  # Of a .gz.
        self._path: Path | None = None
        self._position = 0  # Of the handle.
        self._carry = b""  # Read already, behind the last chunk.
        self._index = 0
        # Of the next chunk. The first is half a chunk: so two threads do not come to the same place at the same time.
        self._wanted = chunk_bytes // 2
        self.day = day
        self.offset = days[day].start if offset is None and day < len(days) else offset or 0

    def buffer(self) -> npt.NDArray[np.uint8]:
        """Memory for a chunk."""
        return np.zeros(self._chunk_bytes + 1 + TEXT_PADDING, np.uint8)

    def claim(self, buffer: npt.NDArray[np.uint8]) -> Chunk | None:
        """The next chunk, to be loaded into this buffer; None at the end of the last day.

        Raises:
            DataFormatError: a file is missing, cut short or damaged, or has a line that is longer than a chunk.
        """
        if self.day == len(self._days):
            self.close()
            return None
        day, start = self._days[self.day], self.offset
        with _reading(day.path):
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
                    stop = plain.line_end(start, stop)
        if stop == start and not ends_day:
            raise DataFormatError(
                f"{day.path}: has a line of more than {self._wanted} bytes at byte {start}. Is it a click log?"
            )
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
        """Bring the text of a claimed chunk into its buffer, every line with its newline; returns its bytes.

        Raises:
            DataFormatError: the file has become shorter.
        """
        size = chunk.size
        if chunk.plain is not None:
            chunk.plain.read_into(buffer.data[:size], chunk.start)
        if size and buffer[size - 1] != _NEWLINE:
            buffer[size] = _NEWLINE
            size += 1
        return size

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle is not None:
            self._handle.close()
        self._handle, self._path, self._plain = None, None, None

    def _unpack(self, day: Day, buffer: npt.NDArray[np.uint8]) -> tuple[int, bool]:
        """Fill a buffer from a ``.gz``; returns where its whole lines stop, and whether the day ends there."""
        size = self._fill(day, buffer)
        if size < self._wanted or (day.stop is not None and self.offset + size >= day.stop):
            self._carry = b""
            return self.offset + size, True
        whole = _last_line_end(buffer, size)
        self._carry = buffer[whole:size].tobytes()
        return self.offset + whole, False

    def _fill(self, day: Day, buffer: npt.NDArray[np.uint8]) -> int:
        size = len(self._carry)
        if self._path != day.path or self._position != self.offset + size:
            self.close()
            self._handle, self._path, self._carry, size = open_log(day.path), day.path, b"", 0
            self._handle.seek(self.offset)  # Of a .gz: read and thrown away.
            self._position = self.offset
        assert self._handle is not None
        buffer[:size] = np.frombuffer(self._carry, np.uint8)
        end = self._wanted
        if day.stop is not None:
            end = min(end, day.stop - self.offset)
        view = buffer.data
        while size < end:
            got = self._handle.readinto(view[size:end])  # type: ignore[attr-defined]
            if not got:
                break
            size += got
            self._position += got
        return size


def sampled_line_bytes(days: Sequence[Day]) -> float:
    """Mean length of a line, from the beginning of each day."""
    size = lines = 0
    for day in days:
        with _reading(day.path), open_log(day.path) as handle:
            handle.seek(day.start)
            sample = handle.read(_SAMPLE)
        end = sample.rfind(b"\n") + 1
        size, lines = size + end, lines + sample.count(b"\n")
    return size / lines if lines else float(_SAMPLE)


def text_bytes(day: Day) -> int:
    """Size of a day's text; of a ``.gz`` estimated by what its first megabyte unpacks to."""
    size = day.path.stat().st_size
    if day.path.suffix == ".gz":
        with day.path.open("rb") as handle:
            packed = handle.read(_BLOCK)
        unpacked = len(zlib.decompressobj(wbits=31).decompress(packed)) if packed[:2] == b"\x1f\x8b" else 0
        size = size * unpacked // max(1, len(packed))
    return max(0, (size if day.stop is None else day.stop) - day.start)


def _blocks(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    with _reading(path), open_log(path) as handle:
        while block := handle.read(_BLOCK):
            yield np.frombuffer(block, np.uint8)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: there is no such raw log.") from error
    except _DAMAGED as error:
        line = _readable_lines(path)
        raise DataFormatError(
            f"{path}: is cut short or damaged after line {line:,} ({error}). Download it again."
        ) from error


def _readable_lines(path: Path) -> int:
    """Whole lines before the damage: reads the file once more, which only an error pays for."""
    lines = 0
    with suppress(*_DAMAGED), gzip.open(path, "rb") as handle:
        while block := handle.read1(_BLOCK):
            lines += block.count(b"\n")
    return lines


def _last_line_end(buffer: npt.NDArray[np.uint8], size: int) -> int:
    """Bytes up to the last newline."""
    window = _SAMPLE
    while True:
        first = max(0, size - window)
        found = buffer[first:size].tobytes().rfind(b"\n")
        if found >= 0:
            return first + found + 1
        if not first:
            return 0
        window *= 8
