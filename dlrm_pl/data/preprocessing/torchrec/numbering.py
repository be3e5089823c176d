"""Number a column's values by first appearance, from 2 up, in bounded memory: in several passes if needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.files.complete_io import read_at, write_at

FIRST_ID = 2
RARE = 1
"""Id of values that have too few rows."""

_TOGETHER = 1 << 20
_MOST_PARTS = 1 << 12
_MIXER = np.uint32(0x9E3779B1)
_WORD_BITS = 64
_NONE = np.empty(0, np.int64)

Values = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class _TooLargeError(Exception):
    """A part of the values needs more memory than there is."""


def number_column(raw: Path, ids: Path, engine: Engine, *, min_count: int, memory_bytes: int) -> int:
    """Write the ids of a column.

    If the values of the column do not fit into memory, they are divided into parts by the last bits of their hashes,
    and one part is numbered at a time. The id of a value is then 2 plus the number of values that appeared earlier,
    which is counted in a bitmap of all rows with a new value.

    Args:
        raw: file of the column's values, unsigned 32-bit.
        ids: file to write, int32.
        engine: native code or its NumPy fallback.
        min_count: values with fewer rows get id 1.
        memory_bytes: maximum memory of the table of values.

    Returns:
        The number of ids: one more than the largest id.
    """
    rows = raw.stat().st_size // 4
    parts = 1
    while True:
        try:
            return _Numbering(raw, ids, rows, engine, parts, memory_bytes).write(min_count)
        except _TooLargeError:
            parts *= 2


class _Numbering:
    """An attempt with a number of parts, a power of two."""

    def __init__(self, raw: Path, ids: Path, rows: int, engine: Engine, parts: int, memory_bytes: int) -> None:
        self._raw = raw
        self._ids = ids
        self._rows = rows
        self._engine = engine
        self._parts = parts
        self._memory_bytes = memory_bytes

    def write(self, min_count: int) -> int:
        """Write the ids; returns their number."""
        with self._ids.open("wb") as handle:
            handle.truncate(4 * self._rows)
        for part in range(self._parts):
            self._number(part)
        ids_of_parts, size = [], FIRST_ID
        if self._parts > 1 or min_count > 1:
            bitmap = np.zeros(self._rows // _WORD_BITS + 1, np.uint64)
            for part in range(self._parts):
                firsts, counts = self._found(part)
                _set_bits(bitmap, firsts[counts >= min_count])
            bits = np.bitwise_count(bitmap)
            before = np.cumsum(bits, dtype=np.int64) - bits
        for part in range(self._parts):
            firsts, counts = self._found(part)
            if self._parts > 1 or min_count > 1:
                stays = counts >= min_count
                ids = np.where(stays, FIRST_ID + _bits_before(bitmap, before, firsts), RARE).astype(np.int32)
                size += int(np.count_nonzero(stays))
            else:
                ids = np.arange(FIRST_ID, FIRST_ID + len(counts), dtype=np.int32)
                size += len(counts)
            ids_of_parts.append(ids)
            for path in self._files_of(part):
                path.unlink()
        self._translate(ids_of_parts)
        return size

    def _files_of(self, part: int) -> tuple[Path, Path]:
        return self._ids.with_suffix(f".firsts_{part}.npy"), self._ids.with_suffix(f".counts_{part}.npy")

    def _found(self, part: int) -> tuple[Positions, Values]:
        """Return, by number, where each value of a part first appears and how many rows it has."""
        firsts, counts = (np.load(path) for path in self._files_of(part))
        return firsts, counts

    def _number(self, part: int) -> None:
        """Write the numbers of a part's values by first appearance, and files of their first places and row counts."""
        table = self._engine.table()
        pipeline = self._engine.pipeline([table])
        firsts: list[Positions] = []
        with self._ids.open("r+b") as handle:
            for chunk, (start, values) in enumerate(self._chunks()):
                chosen = self._places(values, part)
                numbers = np.ascontiguousarray(values[chosen]).view(np.int32)[None]
                known = len(table)
                pipeline.number(chunk, numbers, numbers.shape[1], learn=True)
                # A new value has a larger number than all values before it.
                largest = np.maximum.accumulate(np.concatenate([[known - 1], numbers[0]]))
                firsts.append(start + chosen[np.flatnonzero(numbers[0] > largest[:-1])])
                self._put(handle.fileno(), start, len(values), chosen, numbers[0])
                if table.nbytes > self._memory_bytes and self._parts < _MOST_PARTS:
                    raise _TooLargeError
        _, counts = table.read(len(table))
        for path, values_ in zip(self._files_of(part), (np.concatenate([_NONE, *firsts]), counts), strict=True):
            np.save(path, values_)

    def _places(self, values: Values, part: int) -> Positions:
        if self._parts == 1:
            return np.arange(len(values))
        return np.flatnonzero((values * _MIXER) >> np.uint32(20) & np.uint32(self._parts - 1) == part)

    def _translate(self, ids_of_parts: list[npt.NDArray[np.int32]]) -> None:
        """Replace the numbers by ids."""
        with self._ids.open("r+b") as handle:
            for start, values in self._chunks():
                some = _read(handle.fileno(), start, len(values))
                for part, ids in enumerate(ids_of_parts):
                    chosen = self._places(values, part)
                    some[chosen] = ids[some[chosen]]
                write_at(handle.fileno(), some.view(np.uint8).data, 4 * start)

    def _put(self, descriptor: int, start: int, count: int, chosen: Positions, numbers: npt.NDArray[np.int32]) -> None:
        if len(chosen) < count:
            some = _read(descriptor, start, count)
            some[chosen] = numbers
            numbers = some
        write_at(descriptor, numbers.view(np.uint8).data, 4 * start)

    def _chunks(self) -> Iterator[tuple[int, Values]]:
        with self._raw.open("rb") as handle:
            for start in range(0, self._rows, _TOGETHER):
                yield start, np.fromfile(handle, np.uint32, min(_TOGETHER, self._rows - start))


def _read(descriptor: int, first: int, count: int) -> npt.NDArray[np.int32]:
    """Read values of an open file."""
    values = np.empty(count, np.int32)
    read_at(descriptor, values.view(np.uint8).data, 4 * first)
    return values


def _set_bits(bitmap: Words, places: Positions) -> None:
    words, bits = np.divmod(places, _WORD_BITS)
    np.bitwise_or.at(bitmap, words, np.uint64(1) << bits.astype(np.uint64))


def _bits_before(bitmap: Words, before: Positions, places: Positions) -> Positions:
    """Return the number of bits that are set before each place."""
    words, bits = np.divmod(places, _WORD_BITS)
    lower = (np.uint64(1) << bits.astype(np.uint64)) - np.uint64(1)
    return before[words] + np.bitwise_count(bitmap[words] & lower)
