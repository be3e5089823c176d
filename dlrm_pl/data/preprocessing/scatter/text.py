"""From text to records in buckets: each row is read once, numbered, and written to the bucket of its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import TEXT_PADDING, Matrix, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.chunks import Chunk, ChunkReader
from dlrm_pl.data.preprocessing.logs.days import Day, days_of_files
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.stage import COUNT_KEPT, COUNT_READ, Scatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.raw_logs.diagnosis import likely_format
from dlrm_pl.data.raw_logs.line import Label, explain, without_newline
from dlrm_pl.errors import DataFormatError


class TextScatter(Scatter):
    """The first stage of a run on raw logs.

    Args:
        days: logs of each day, in order.
        options: options of the run.
        state: where to start; updated.
        statistics: counts by day; updated.
        vocabulary: numbers of the categories; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the rows and the bytes of text that were processed.
        part: file to read; None for all of them.
    """

    _label: Label = "needed"
    _keep_negatives = False

    def __init__(
        self,
        days: Sequence[Day],
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: HexVocabulary,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
        part: LogPart | None = None,
    ) -> None:
        super().__init__(options.columns_of_logs, len(days), options, state, statistics, engine, folder, progress, part)
        self._days = days
        self._is_part = part is not None
        self._stop_day = days_of_files(days)[part.file].stop if part else len(days)
        self._vocabulary = vocabulary
        self._reader = ChunkReader(
            days[: self._stop_day], options.columns_of_logs, options.chunk_bytes, state.day, state.offset
        )
        self._rejected = RejectedRows(options, state, self._files, "line", self._hint)

    def _hint(self, path: Path) -> str:
        """Return what the format of a file seems to be; empty if most lines are valid."""
        return likely_format(path, columns=self._columns)

    def _at_end(self) -> bool:
        return self._reader.day == self._stop_day

    def _note_place(self) -> None:
        self._state.day, self._state.offset = self._reader.day, self._reader.offset

    def _check_end(self) -> None:
        # Of a part, the rows that were left out before it are not known here.
        self._rejected.check(self._days[self._stop_day - 1].path, at_end=not self._is_part)

    def _close(self) -> None:
        self._reader.close()

    def _stop(self) -> None:
        super()._stop()
        self._vocabulary.stop()

    def _process_chunks(self) -> None:
        """Process chunk after chunk in a thread, until a checkpoint is due or the logs end."""
        buffer = np.zeros(self._options.chunk_bytes + 1 + TEXT_PADDING, np.uint8)
        # An odd number of cache lines apart, so that the columns do not compete for the same part of the cache.
        record_ints = self._columns.record_ints
        shortest_row = record_ints + 1  # A digit of the label, a tab before every other field, and a newline.
        capacity = 16 * ((self._options.chunk_bytes // shortest_row // 16 + 1) | 1)
        matrix = np.empty((record_ints, capacity), np.int32)
        keyed = np.empty(capacity, keyed_dtype(record_ints))
        bad = np.empty((2, capacity), np.int64)
        # Counts that do not depend on the order of the chunks are made by each thread on its own.
        day, counted = 0, Counted.nothing(self._columns)
        while True:
            with self._reading, self._running:
                chunk = self._reader.claim(buffer) if self._left_bytes > 0 else None
                if chunk is not None:
                    self._left_bytes -= chunk.size
            if chunk is None or chunk.day != day:
                with self._counting:
                    self._statistics.add(day, counted)
                if chunk is None:
                    return
                day, counted = chunk.day, Counted.nothing(self._columns)
            self._process_chunk(chunk, buffer, matrix, keyed, bad, counted)

    def _process_chunk(
        self,
        chunk: Chunk,
        buffer: npt.NDArray[np.uint8],
        matrix: Matrix,
        keyed: npt.NDArray[np.void],
        bad: npt.NDArray[np.int64],
        counted: Counted,
    ) -> None:
        """Process one chunk from text to files."""
        state, options, day = self._state, self._options, self._statistics.days[chunk.day]
        with self._running:
            size = self._reader.load(chunk, buffer)
            rows, lines, bads = self._engine.parse(
                *(buffer, size, options.modulus, matrix, counted.missing, counted.histogram, counted.largest, bad),
                self._label,
                keep_negatives=self._keep_negatives,
            )
        path = self._days[chunk.day].path
        with self._pipeline.turn(COUNT_READ, chunk.index):
            text = buffer[:size].tobytes() if bads else b""
            self._reject(chunk, text, bad[:, :bads], lines)
            if bads == bad.shape[1]:
                raise DataFormatError(f"{path}: {bads:,} lines in a row cannot be parsed. {self._hint(path)}".rstrip())
            first_row = state.read_rows
            state.read_rows += rows
            day.rows += rows
            if chunk.ends_day:
                ends_file = self._ends_file(chunk.day)
                if not day.rows:
                    part = (
                        ""
                        if ends_file and not self._days[chunk.day].start
                        else f"day {chunk.day}, to line {state.line}, "
                    )
                    hint = self._hint(path) or "An empty day is usually a broken download."
                    none = f"{state.line:,} lines, but no rows" if state.line and not part else "no rows"
                    raise DataFormatError(f"{path}: {part}has {none}. {hint}")
                if ends_file:
                    state.line = state.blank_line = 0
            # While it is this chunk's turn, so that no chunk that waits for another one takes its place.
            self._running.acquire()
        try:
            self._number(chunk, matrix, rows, first_row, keyed, counted)
        finally:
            self._running.release()
        with self._counting:
            self._progress(lines, chunk.size)

    def _number(
        self,
        chunk: Chunk,
        matrix: Matrix,
        rows: int,
        first_row: int,
        keyed: npt.NDArray[np.void],
        counted: Counted,
    ) -> None:
        """Process one chunk from rows to files."""
        state, options, day = self._state, self._options, self._statistics.days[chunk.day]
        if options.subsample_rate:
            keep = self._kept(matrix[LABEL, :rows], first_row)
            rows = len(keep)
            matrix[:, :rows] = matrix[:, keep]
        counted.clicks += int(np.count_nonzero(matrix[LABEL, :rows]))
        with self._pipeline.turn(COUNT_KEPT, chunk.index):
            first_kept, first_of_day = state.kept_rows, day.kept
            state.kept_rows += rows
            day.kept += rows
        last_day = chunk.day == len(self._days) - 1
        unknown = self._vocabulary.encode(chunk.index, matrix, rows, last_day=last_day)
        self._files.write(chunk.day, matrix, rows, first_of_day, first_kept, keyed)
        with self._counting:
            state.unknown_values += unknown

    def _ends_file(self, day: int) -> bool:
        """Return whether no later day is part of the same file; lines are counted by file, as editors do."""
        return day + 1 == len(self._days) or self._days[day + 1].path != self._days[day].path

    def _reject(self, chunk: Chunk, text: bytes, bad: npt.NDArray[np.int64], lines: int) -> None:
        """Handle lines that are not rows: blank ones may end a file; others stop the run, or are recorded."""
        state, path = self._state, self._days[chunk.day].path
        first_line = state.line + 1
        state.line += lines
        bad_lines = [
            (first_line + number, without_newline(text[offset : text.index(b"\n", offset) + 1]))
            for offset, number in bad.T.tolist()
        ]
        # Whether blank lines at the end of the chunk are allowed depends on what follows.
        trailing = 0
        while trailing < len(bad_lines) and bad_lines[-1 - trailing] == (state.line - trailing, b""):
            trailing += 1
        content = lines > trailing
        if state.blank_line and content:
            self._reject_line(path, state.blank_line, b"")
            state.blank_line = 0
        for number, line in bad_lines[: len(bad_lines) - trailing]:
            self._reject_line(path, number, line)
        if trailing and not state.blank_line:
            state.blank_line = state.line - trailing + 1
        self._rejected.check(path)

    def _reject_line(self, path: Path, number: int, line: bytes) -> None:
        error = explain(line, self._label, columns=self._columns)
        if error.kind == "length":  # As in ChunkReader, so that it does not depend on the size of the chunks.
            raise DataFormatError(f"{path}:{number}: {error}. {self._hint(path)}".rstrip())
        self._rejected.add(path, number, error.kind, str(error), line)
