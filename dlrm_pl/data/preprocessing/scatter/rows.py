"""From rows with named columns to records in buckets: each row is read once, numbered, and written to its bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.formats.raw_rows import Integers, RawRows
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.dense import count_values, moments_of, write_dense
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.record_memory import RecordMemory
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.selection import take
from dlrm_pl.data.preprocessing.scatter.stage import Scatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.tables.rows import RowVocabulary
from dlrm_pl.data.preprocessing.threads import Pipeline
from dlrm_pl.data.sources.days import Days
from dlrm_pl.data.sources.source import RawChunk, Source, SourceChunk
from dlrm_pl.documents.fields import printable
from dlrm_pl.errors import DataFormatError


def check_days(path: Path, names: Sequence[str], statistics: LogStatistics) -> None:
    """Check that each day has rows.

    Raises:
        DataFormatError: a day has no rows.
    """
    for number, day in enumerate(statistics.days):
        if not day.rows:
            raise DataFormatError(f"{path}: day {number} ({printable(names[number])}) has no usable rows.")


class RowMemory(RecordMemory):
    """Memory for the records of a chunk; see ``RecordMemory``.

    Attributes:
        counted: by day, the counts that do not depend on the order of the chunks, over all chunks that used this
            memory.
    """

    def __init__(self, record_ints: int, rows: int) -> None:
        super().__init__(record_ints, rows)
        self.counted: dict[int, Counted] = {}


@dataclass
class Converted:
    """A chunk whose values have been converted to the types of the columns.

    Attributes:
        raw: rows of the chunk as read.
        chunk: converted rows of the chunk.
        days: day of each row.
        index: number of the chunk in this run, from 0; set once the chunk is counted.
        first_row: number of rows read before this chunk; set once the chunk is counted.
    """

    raw: RawChunk
    chunk: SourceChunk
    days: Integers
    index: int = 0
    first_row: int = 0


class RowScatter(Scatter[RawChunk, Converted, RowMemory]):
    """First stage of a run on files with named columns.

    The rows of a chunk may belong to several days, in any order; those of the last day are numbered after the others.
    Chunks do not depend on memory or threads, so the order of the rows does not either.

    Args:
        source: files of the log, divided into days.
        days: the days.
        row_bytes: approximate number of bytes of the log per row, to report progress.
        options: options of the run.
        state: state to start from; updated.
        statistics: counts by day; updated.
        vocabulary: numbers of the categories; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the number of rows and bytes processed.
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
        self._index = 0  # Index of the next chunk to count.
        self._in_order = Pipeline(num_stages=1)
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
        # For a part, the rows that were left out before it are not known here.
        self._rejected.check(last.path, at_end=self._part is None)
        if self._part is None:
            check_days(self._source.path, self._day_names, self._statistics)

    def _close(self) -> None:
        self._raw = iter(())

    def _stop(self) -> None:
        super()._stop()
        self._in_order.stop()
        self._vocabulary.stop()

    def memory(self) -> RowMemory:
        """Return memory for a chunk."""
        return RowMemory(self._columns.record_ints, self._source.chunk_rows)

    def claim(self, memory: RowMemory) -> RawChunk | None:
        """Read the next chunk; None at the end of the files, or if a checkpoint is due."""
        if self._left_bytes <= 0 or self._ended:
            return None
        raw = next(self._raw, None)
        if raw is None:
            self._ended = True
            return None
        self._left_bytes -= max(1, raw.table.nbytes)
        self._place = raw.file, raw.first_row + raw.num_rows
        return raw

    def read(self, claimed: RawChunk, memory: RowMemory) -> Converted:
        """Convert the values of a chunk."""
        chunk = self._source.convert(claimed)
        assert chunk.days is not None
        return Converted(claimed, chunk, chunk.days.astype(np.int64))

    def count(self, read: Converted, memory: RowMemory) -> None:
        """Count the rows of a chunk, and reject unusable ones.

        Raises:
            DataFormatError: more rows than allowed cannot be used.
        """
        state, path = self._state, self._source.files[read.raw.file].path
        for bad in read.chunk.bad:
            content = f"{bad.column}\t{bad.value}".encode()
            self._rejected.add(path, bad.row + 1, bad.kind, bad.reason, content)
        self._rejected.check(path)
        read.index, read.first_row = self._index, state.read_rows
        self._index += 1
        state.read_rows += len(read.days)
        state.cut_lists += read.chunk.cut_lists
        for day, rows in zip(*np.unique(read.days, return_counts=True), strict=True):
            self._statistics.days[day].rows += int(rows)
        self._progress(read.raw.num_rows, int(read.raw.num_rows * self._row_bytes))

    def number(self, read: Converted, memory: RowMemory) -> None:
        """Number the categories of a chunk, and write its records."""
        rows, days = read.chunk.rows, read.days
        self._count(rows, days, memory.counted)
        order = self._order(rows, days, read.first_row)
        if order is not None:
            rows, days = take(rows, order), days[order]
        last_day = int(np.count_nonzero(days != self._last_day))
        matrix = memory.matrix
        write_dense(self._columns, rows, matrix)
        moments = moments_of(self._columns, matrix, last_day)
        clicks = matrix[LABEL, : len(days)] != 0
        for day in np.unique(days).tolist():
            self._counts(memory.counted, day).clicks += int(np.count_nonzero(clicks & (days == day)))
        with self._in_order.turn(0, read.index):
            first_kept, first_of_last = self._note_kept(days)
            self._statistics.moments.add(moments)
        unknown = self._vocabulary.encode(read.index, rows, last_day, matrix)
        edges = sorted({0, last_day, len(days)})  # All training days share their buckets, or their file.
        if self._options.randomize == "day":
            if (np.diff(days) < 0).any():
                by_day = np.argsort(days, kind="stable")
                days, matrix = days[by_day], np.ascontiguousarray(matrix[:, by_day])
            edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for start, stop in pairwise(edges):
            # The engine only takes whole matrices.
            part = matrix if (start, stop) == (0, len(days)) else np.ascontiguousarray(matrix[:, start:stop])
            self._files.write(int(days[start]), part, stop - start, first_of_last, first_kept + start, memory.keyed)
        # Add the counts of all days but one, so that the counts of many days do not fill the memory.
        for day in list(memory.counted)[:-1]:
            self._add(day, memory.counted.pop(day))
        with self._counting:
            self._state.unknown_values += unknown

    def _add_counts(self, memory: RowMemory) -> None:
        for day in list(memory.counted):
            self._add(day, memory.counted.pop(day))

    def _add(self, day: int, counted: Counted) -> None:
        with self._counting:
            self._statistics.add(day, counted)

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
