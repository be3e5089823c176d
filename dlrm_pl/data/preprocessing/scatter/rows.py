"""From rows with named columns to records in buckets: each row is read once, numbered, and written to its bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.formats.raw_rows import Integers, RawRows
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import Matrix, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.dense import count_values, moments_of, write_dense
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.selection import take
from dlrm_pl.data.preprocessing.scatter.stage import COUNT_KEPT, COUNT_READ, Scatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.tables.rows import RowVocabulary
from dlrm_pl.data.sources.days import Days
from dlrm_pl.data.sources.source import RawChunk, Source
from dlrm_pl.documents.fields import printable
from dlrm_pl.errors import DataFormatError


def check_days(path: Path, names: Sequence[str], statistics: LogStatistics) -> None:
    """Check that each day has rows.

    Raises:
        DataFormatError: a day has none.
    """
    for number, day in enumerate(statistics.days):
        if not day.rows:
            raise DataFormatError(f"{path}: day {number} ({printable(names[number])}) has no rows that can be used.")


@dataclass(frozen=True)
class _Claimed:
    """A chunk that a thread processes.

    Attributes:
        index: number of the chunk in this run, from 0.
        raw: its rows as they were read.
    """

    index: int
    raw: RawChunk


class _Memory:
    """Memory of a thread for the records of a chunk."""

    def __init__(self, record_ints: int, rows: int) -> None:
        # An odd number of cache lines apart, so that the columns do not compete for the same part of the cache.
        capacity = 16 * ((rows // 16 + 1) | 1)
        self.matrix: Matrix = np.empty((record_ints, capacity), np.int32)
        self.keyed: npt.NDArray[np.void] = np.empty(capacity, keyed_dtype(record_ints))


class RowScatter(Scatter):
    """The first stage of a run on files with named columns.

    The rows of a chunk may be of several days, in any order: those of the last day are numbered after the others.
    Chunks do not depend on memory or threads, so the order does not either.

    Args:
        source: files of the log, divided into days.
        days: the days.
        row_bytes: bytes of the log for a row, about, to report progress.
        options: options of the run.
        state: where to start; updated.
        statistics: counts by day; updated.
        vocabulary: numbers of the categories; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the rows and the bytes that were processed.
        part: file to read; None for all of them.
    """

    def __init__(
        self,
        source: Source,
        days: Days,
        row_bytes: float,
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: RowVocabulary,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
        part: LogPart | None = None,
    ) -> None:
        super().__init__(source.columns, len(days.names), options, state, statistics, engine, folder, progress, part)
        self._source = source
        self._day_names = days.names
        self._row_bytes = row_bytes
        self._vocabulary = vocabulary
        self._last_day = len(days.names) - 1
        self._part = part
        self._raw: Iterator[RawChunk] = source.raw_chunks(state.file, state.row)
        if part is not None:
            self._raw = takewhile(lambda chunk: chunk.file == part.file, self._raw)
        self._index = 0
        self._place = state.file, state.row
        self._ended = False
        self._rejected = RejectedRows(options, state, self._files)

    def _at_end(self) -> bool:
        return self._ended

    def _note_place(self) -> None:
        self._state.file, self._state.row = self._place

    def _check_end(self) -> None:
        self._source.check_unchanged()
        last = self._source.files[self._part.file if self._part else -1]
        # Of a part, the rows that were left out before it are not known here.
        self._rejected.check(last.path, at_end=self._part is None)
        if self._part is None:
            check_days(self._source.path, self._day_names, self._statistics)

    def _close(self) -> None:
        self._raw = iter(())

    def _stop(self) -> None:
        super()._stop()
        self._vocabulary.stop()

    def _claim(self) -> _Claimed | None:
        """Read the next chunk; None at the end, or if a checkpoint is due."""
        with self._reading, self._running:
            if self._left_bytes <= 0 or self._ended:
                return None
            raw = next(self._raw, None)
            if raw is None:
                self._ended = True
                return None
            self._left_bytes -= max(1, raw.table.nbytes)
            self._place = raw.file, raw.first_row + raw.num_rows
            claimed = _Claimed(self._index, raw)
            self._index += 1
            return claimed

    def _process_chunks(self) -> None:
        """Process chunk after chunk in a thread, until a checkpoint is due or the files end."""
        memory: _Memory | None = None
        counted: dict[int, Counted] = {}
        while (claimed := self._claim()) is not None:
            if memory is None:
                memory = _Memory(self._columns.record_ints, self._source.chunk_rows)
            self._process_chunk(claimed, memory, counted)
            # Counts that do not depend on the order of the chunks are made by each thread on its own, day by day.
            for day in list(counted)[:-1]:
                self._add(day, counted.pop(day))
        for day, counts in counted.items():
            self._add(day, counts)

    def _add(self, day: int, counted: Counted) -> None:
        with self._counting:
            self._statistics.add(day, counted)

    def _process_chunk(self, claimed: _Claimed, memory: _Memory, counted: dict[int, Counted]) -> None:
        """Process one chunk from columns to files."""
        raw, state = claimed.raw, self._state
        with self._running:
            chunk = self._source.convert(raw)
            assert chunk.days is not None
            days = chunk.days.astype(np.int64)
        path = self._source.files[raw.file].path
        with self._pipeline.turn(COUNT_READ, claimed.index):
            for bad in chunk.bad:
                content = f"{bad.column}\t{bad.value}".encode()
                self._rejected.add(path, bad.row + 1, bad.kind, bad.reason, content)
            self._rejected.check(path)
            first_row = state.read_rows
            state.read_rows += len(days)
            state.cut_lists += chunk.cut_lists
            for day, rows in zip(*np.unique(days, return_counts=True), strict=True):
                self._statistics.days[day].rows += int(rows)
            # While it is this chunk's turn, so that no chunk that waits for another one takes its place.
            self._running.acquire()
        try:
            self._number(claimed.index, chunk.rows, days, first_row, memory, counted)
        finally:
            self._running.release()
        with self._counting:
            self._progress(raw.num_rows, int(raw.num_rows * self._row_bytes))

    def _number(
        self,
        index: int,
        rows: RawRows,
        days: Integers,
        first_row: int,
        memory: _Memory,
        counted: dict[int, Counted],
    ) -> None:
        """Process one chunk from rows to files."""
        self._count(rows, days, counted)
        order = self._order(rows, days, first_row)
        if order is not None:
            rows, days = take(rows, order), days[order]
        last_day = int(np.count_nonzero(days != self._last_day))
        matrix = memory.matrix
        write_dense(self._columns, rows, matrix)
        moments = moments_of(self._columns, matrix, last_day)
        clicks = matrix[LABEL, : len(days)] != 0
        for day in np.unique(days).tolist():
            self._counts(counted, day).clicks += int(np.count_nonzero(clicks & (days == day)))
        with self._pipeline.turn(COUNT_KEPT, index):
            first_kept, first_of_last = self._note_kept(days)
            self._statistics.moments.add(moments)
        unknown = self._vocabulary.encode(index, rows, last_day, matrix)
        edges = sorted({0, last_day, len(days)})  # All training days share their buckets, or their file.
        if self._options.randomize == "day":
            if (np.diff(days) < 0).any():
                by_day = np.argsort(days, kind="stable")
                days, matrix = days[by_day], np.ascontiguousarray(matrix[:, by_day])
            edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for start, stop in pairwise(edges):
            # The engine takes whole matrices only.
            part = matrix if (start, stop) == (0, len(days)) else np.ascontiguousarray(matrix[:, start:stop])
            self._files.write(int(days[start]), part, stop - start, first_of_last, first_kept + start, memory.keyed)
        with self._counting:
            self._state.unknown_values += unknown

    def _count(self, rows: RawRows, days: Integers, counted: dict[int, Counted]) -> None:
        """Count the values of all rows that were read, day by day."""
        present = np.unique(days).tolist()
        for day in present:
            chosen = slice(None) if len(present) == 1 else np.flatnonzero(days == day)
            count_values(self._columns, rows, chosen, self._counts(counted, day))

    def _counts(self, counted: dict[int, Counted], day: int) -> Counted:
        if day not in counted:
            counted[day] = Counted.nothing(self._columns)
        return counted[day]

    def _order(self, rows: RawRows, days: Integers, first_row: int) -> Integers | None:
        """Return the rows that are kept, those of the last day after the others; None for all as they are."""
        assert rows.label is not None
        kept = self._kept(rows.label, first_row) if self._options.subsample_rate else None
        is_last = days == self._last_day if kept is None else days[kept] == self._last_day
        if not (is_last[:-1] & ~is_last[1:]).any():
            return kept
        order = np.argsort(is_last, kind="stable")
        return order if kept is None else kept[order]

    def _note_kept(self, days: Integers) -> tuple[int, int]:
        """Count the rows that are kept; returns how many of training days, and of the last day, came before."""
        last = self._statistics.days[self._last_day]
        before = self._state.kept_rows - last.kept, last.kept
        self._state.kept_rows += len(days)
        for day, rows in zip(*np.unique(days, return_counts=True), strict=True):
            self._statistics.days[day].kept += int(rows)
        return before
