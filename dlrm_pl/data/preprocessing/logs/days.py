"""Raw logs of each day: found, identified and sampled."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import KAGGLE_DAYS
from dlrm_pl.data.raw_logs.diagnosis import likely_format, open_log, repair_gz
from dlrm_pl.errors import DataFormatError

_DAY_ENDING = re.compile(r"(.+)_[0-9]+(?:\.gz)?")
_SHOWN = 5
_NEWLINE = ord("\n")
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_SAMPLE = 1 << 16
_CORRUPT = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Day:
    """Log of a day: a file, or part of one.

    Attributes:
        path: file, plain or ``.gz``.
        start: first byte of the day in the file's text.
        stop: byte after the last one; None: the end of the file.
    """

    path: Path
    start: int = 0
    stop: int | None = None


def find_days(raw: Path, layout: str, days: int | None, least: int, columns: Columns) -> list[Day]:
    """Return the days in order.

    Args:
        raw: common beginning of the day files' names, or one log for ``kaggle``.
        layout: ``kaggle`` cuts one log into days; otherwise, each day is a file.
        days: number of days; None for all.
        least: smallest number of days.
        columns: columns of the log.

    Raises:
        DataFormatError: a file is missing or corrupt, or there are too few days or rows.
    """
    if layout == "kaggle":
        return kaggle_days(raw, days or KAGGLE_DAYS, columns)
    return [Day(path) for path in day_files(raw, days, least)]


def day_files(prefix: Path, days: int | None, least: int = 2) -> list[Path]:
    """Return the paths of ``PREFIX_0``, ``PREFIX_1``, ..., plain or ``.gz``.

    Raises:
        DataFormatError: there are fewer than ``least`` files, or one is missing before a later one; the message names
            it.
    """
    numbers: dict[int, Path] = {}
    names = f"{prefix}_0, {prefix}_1, ..."
    for path in _files_in_folder_of(prefix):
        number = _day_number(prefix, path)
        if number is not None:
            earlier = numbers.setdefault(number, path)
            if earlier != path:
                raise DataFormatError(f"{earlier} and {path} are the same day. Keep one of them.")
    if not numbers:
        raise DataFormatError(
            f"{names}: no day files were found; at least {least} are needed. {_near(prefix)}".rstrip()
        )
    wanted = days if days is not None else max(numbers) + 1
    for number in range(wanted):
        if number not in numbers:
            raise DataFormatError(
                f"{prefix}_{number}: is missing, both plain and as .gz; {wanted} consecutive days are needed. "
                f"{_near(prefix)}".rstrip()
            )
    if wanted < least:
        raise DataFormatError(f"{names}: 1 day file was found; at least {least} are needed. {_near(prefix)}".rstrip())
    return [numbers[number] for number in range(wanted)]


def _day_number(prefix: Path, path: Path) -> int | None:
    """Return the number in a day file's name; None for other files."""
    match = re.fullmatch(re.escape(prefix.name) + r"_([0-9]{1,6})(?:\.gz)?", path.name)
    return int(match[1]) if match else None


def _files_in_folder_of(prefix: Path) -> list[Path]:
    """Return the files in the folder of the day files, sorted by name."""
    folder = prefix.parent
    if not folder.is_dir():
        raise DataFormatError(f"{folder}: no such folder of raw logs.")
    return sorted(path for path in folder.iterdir() if path.is_file())


def _near(prefix: Path) -> str:
    """Return a hint at files that may have been meant instead of missing day files; empty if there are none."""
    if prefix.is_file():
        if begin := _DAY_ENDING.fullmatch(prefix.name):
            return f"Give the common beginning of their names: {prefix.with_name(begin[1])}."
        return f"{prefix} is a single file, which --layout kaggle cuts into days."
    start = prefix.name.casefold()
    near = [
        path.name
        for path in _files_in_folder_of(prefix)
        if path.name.casefold().startswith(start)
        and any(character.isnumeric() for character in path.name[len(start) :])
        and _day_number(prefix, path) is None
    ]
    if not near:
        return ""
    listed = ", ".join(near[:_SHOWN]) + (f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else "")
    return f"There is {listed}: day files must be named {prefix.name}_0, or {prefix.name}_0.gz if compressed."


def kaggle_days(path: Path, count: int, columns: Columns) -> list[Day]:
    """Cut one log into days of equal length, with the first ones a row longer if needed, as in upstream.

    Raises:
        DataFormatError: the log is missing or corrupt, or has too few rows.
    """
    lines_by_block: list[int] = []
    last_text, size = 0, 0
    for block in _blocks(path):
        lines_by_block.append(int(np.count_nonzero(block == _NEWLINE)))
        if text := block.tobytes().rstrip(b"\r\n"):
            last_text = size + len(text)
        size += len(block)
    # Trailing blank lines are not rows; the last row may lack a newline.
    seen, rows = 0, 0
    for block in _blocks(path):
        if seen >= last_text:
            break
        rows += int(np.count_nonzero(block[: last_text - seen] == _NEWLINE))
        seen += len(block)
    rows += bool(last_text)
    if rows < 2 * count:
        hint = likely_format(path, columns=columns)
        raise DataFormatError(
            f"{path}: {rows} rows cannot be cut into {count} days of at least 2 rows. {hint}".rstrip()
        )
    ends = np.cumsum([rows // count + (day < rows % count) for day in range(count)])
    bounds, wanted, before, offset = [0], ends[:-1].tolist(), 0, 0
    for block, lines in zip(_blocks(path), lines_by_block, strict=True):
        while len(bounds) <= len(wanted) and before + lines >= wanted[len(bounds) - 1]:
            places = np.flatnonzero(block == _NEWLINE)
            bounds.append(offset + int(places[wanted[len(bounds) - 1] - before - 1]) + 1)
        before += lines
        offset += len(block)
    return [Day(path, start, stop) for start, stop in zip(bounds, [*bounds[1:], None], strict=True)]


def days_of_files(days: Sequence[Day]) -> list[range]:
    """Return the numbers of the days in each file; there are several only if one log is cut into days."""
    firsts = [number for number, day in enumerate(days) if not number or day.path != days[number - 1].path]
    return [range(first, stop) for first, stop in pairwise([*firsts, len(days)])]


def identity(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the name, size, modification time and a checksum of the ends of each input, to detect changes."""
    inputs = []
    for path in dict.fromkeys(files):
        status = path.stat()
        with path.open("rb") as handle:
            digest = hashlib.sha256(handle.read(_SAMPLE))
            handle.seek(max(0, status.st_size - _SAMPLE))
            digest.update(handle.read(_SAMPLE))
        inputs.append(
            {
                "file": str(path),
                "bytes": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "sha256_of_ends": digest.hexdigest(),
            }
        )
    return inputs


def sampled_line_bytes(days: Sequence[Day]) -> float:
    """Return the mean length of a line at the beginning of each day, in bytes."""
    size = lines = 0
    for day in days:
        with reading(day.path), open_log(day.path) as handle:
            handle.seek(day.start)
            sample = handle.read(_SAMPLE)
        end = sample.rfind(b"\n") + 1
        size, lines = size + end, lines + sample.count(b"\n")
    return size / lines if lines else float(_SAMPLE)


def text_bytes(day: Day) -> int:
    """Return the size of a day's text; for a ``.gz``, an estimate from its first megabyte."""
    size = day.path.stat().st_size
    if day.path.suffix == ".gz":
        with reading(day.path), day.path.open("rb") as handle:
            packed = handle.read(_BLOCK)
            size = size * _unpacked_bytes(packed) // max(1, len(packed))
    return max(0, (size if day.stop is None else day.stop) - day.start)


def _unpacked_bytes(packed: bytes) -> int:
    """Return the unpacked size of the beginning of a ``.gz``, block by block, as it may be a thousand times larger."""
    unpacker, size = zlib.decompressobj(wbits=31), 0
    while packed[:2] == _GZIP or unpacker.unconsumed_tail:
        size += len(unpacker.decompress(packed, _BLOCK))
        packed = unpacker.unconsumed_tail
        if unpacker.eof:  # The next of several members, as written by pigz and bgzip.
            packed, unpacker = unpacker.unused_data, zlib.decompressobj(wbits=31)
    return size


def _blocks(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    with reading(path), open_log(path) as handle:
        while block := handle.read(_BLOCK):
            yield np.frombuffer(block, np.uint8)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make errors while a log is read name the log.

    Raises:
        DataFormatError: the log is missing, truncated or corrupt.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: no such raw log.") from error
    except _CORRUPT as error:
        line = _readable_lines(path)
        raise DataFormatError(
            f"{path}: is truncated or corrupt after line {line:,} ({error}). {repair_gz(path)}"
        ) from error


def line_at(path: Path, offset: int) -> int:
    """Return the number of the line that begins at a byte offset; reads the text before it, for an error message."""
    lines = 1
    for block in _blocks(path):
        lines += int(np.count_nonzero(block[:offset] == _NEWLINE))
        offset -= len(block)
        if offset <= 0:
            break
    return lines


def _readable_lines(path: Path) -> int:
    """Count the whole lines of a corrupt file that can be read; reads it again, for an error message."""
    lines = 0
    with suppress(*_CORRUPT), gzip.open(path, "rb") as handle:
        while block := handle.read1(_BLOCK):
            lines += block.count(b"\n")
    return lines
