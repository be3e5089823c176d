"""From text to records in buckets: each row is read once, numbered, and written to the bucket of its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import TEXT_PADDING
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.chunks import Chunk, ChunkReader
from dlrm_pl.data.preprocessing.logs.days import Day, days_of_files
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.record_memory import RecordMemory
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.stage import Scatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.raw_logs.diagnosis import likely_format
from dlrm_pl.data.raw_logs.line import Label, explain, without_newline
from dlrm_pl.errors import DataFormatError


class TextMemory(RecordMemory):
    """Memory for a chunk of text, its rows and its records; see ``RecordMemory``.

    Attributes:
        text: the text.
        bad: int64 ``[2, capacity]``, offsets and numbers of the lines that are not valid rows.
        day: day of the counts.
        counted: counts that do not depend on the order of the chunks, over all chunks that used this memory.
    """

    def __init__(self, columns: Columns, chunk_bytes: int) -> None:
        shortest_row = columns.record_ints + 1  # A digit for the label, a tab before every other field, and a newline.
        super().__init__(columns.record_ints, chunk_bytes // shortest_row)
        self.text: npt.NDArray[np.uint8] = np.zeros(chunk_bytes + 1 + TEXT_PADDING, np.uint8)
        self.bad: npt.NDArray[np.int64] = np.empty((2, len(self.keyed)), np.int64)
        self.day = 0
        self.counted = Counted.nothing(columns)


@dataclass
class Parsed:
    """A chunk whose rows are in the matrix of its memory.

    Attributes:
        chunk: the chunk.
        size: number of bytes of text.
        rows: number of rows.
        lines: number of lines.
        bads: number of lines that are not valid rows.
        kept: rows that the subsample keeps; None for all. This field and the following ones are set once the chunk is
            counted.
        first_kept: number of rows, over all days, that were kept before this chunk.
        first_of_day: number of rows of the chunk's day that were kept before this chunk.
    """

    chunk: Chunk
    size: int
    rows: int
    lines: int
    bads: int
    kept: npt.NDArray[np.int64] | None = None
    first_kept: int = 0
    first_of_day: int = 0


class TextScatter(Scatter[Chunk, Parsed, TextMemory]):
    """First stage of a run on raw logs.

    Args:
        days: logs of each day, in order.
        options: options of the run.
        state: state to start from; updated.
        statistics: counts by day; updated.
        vocabulary: numbers of the categories; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the number of rows and bytes of text processed.
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
        # For a part, the rows that were left out before it are not known here.
        self._rejected.check(self._days[self._stop_day - 1].path, at_end=not self._is_part)

    def _close(self) -> None:
        self._reader.close()

    def _stop(self) -> None:
        super()._stop()
        self._vocabulary.stop()

    def memory(self) -> TextMemory:
        """Return memory for a chunk."""
        return TextMemory(self._columns, self._options.chunk_bytes)

    def claim(self, memory: TextMemory) -> Chunk | None:
        """Claim the next chunk; None at the end of the logs, or if a checkpoint is due."""
        if self._left_bytes <= 0:
            return None
        chunk = self._reader.claim(memory.text)
        if chunk is not None:
            self._left_bytes -= chunk.size
        return chunk

    def read(self, claimed: Chunk, memory: TextMemory) -> Parsed:
        """Parse a chunk."""
        if claimed.day != memory.day:
            self._add_counts(memory)
            memory.day = claimed.day
        counted = memory.counted
        size = self._reader.load(claimed, memory.text)
        rows, lines, bads = self._engine.parse(
            *(memory.text, size, self._options.modulus, memory.matrix),
            *(counted.missing, counted.histogram, counted.largest, memory.bad),
            self._label,
            keep_negatives=self._keep_negatives,
        )
        return Parsed(claimed, size, rows, lines, bads)

    def count(self, read: Parsed, memory: TextMemory) -> None:
        """Count the rows of a chunk, and reject lines that are not valid rows.

        Raises:
            DataFormatError: a line cannot be used, more lines than allowed cannot be used, or a day has no rows.
        """
        state, chunk, day = self._state, read.chunk, self._statistics.days[read.chunk.day]
        path = self._days[chunk.day].path
        text = memory.text[: read.size].tobytes() if read.bads else b""
        self._reject(chunk, text, memory.bad[:, : read.bads], read.lines)
        if read.bads == memory.bad.shape[1]:
            raise DataFormatError(
                f"{path}: {read.bads:,} consecutive lines cannot be parsed. {self._hint(path)}".rstrip()
            )
        first_row = state.read_rows
        state.read_rows += read.rows
        day.rows += read.rows
        if chunk.ends_day:
            self._end_day(chunk.day)
        if self._options.subsample_rate:
            read.kept = self._kept(memory.matrix[LABEL, : read.rows], first_row)
        kept = read.rows if read.kept is None else len(read.kept)
        read.first_kept, read.first_of_day = state.kept_rows, day.kept
        state.kept_rows += kept
        day.kept += kept
        self._progress(read.lines, chunk.size)

    def number(self, read: Parsed, memory: TextMemory) -> None:
        """Number the categories of a chunk, and write its records."""
        chunk, matrix, rows = read.chunk, memory.matrix, read.rows
        if read.kept is not None:
            rows = len(read.kept)
            matrix[:, :rows] = matrix[:, read.kept]
        memory.counted.clicks += int(np.count_nonzero(matrix[LABEL, :rows]))
        last_day = chunk.day == len(self._days) - 1
        unknown = self._vocabulary.encode(chunk.index, matrix, rows, last_day=last_day)
        self._files.write(chunk.day, matrix, rows, read.first_of_day, read.first_kept, memory.keyed)
        with self._counting:
            self._state.unknown_values += unknown

    def _add_counts(self, memory: TextMemory) -> None:
        with self._counting:
            self._statistics.add(memory.day, memory.counted)
        memory.counted = Counted.nothing(self._columns)

    def _end_day(self, day: int) -> None:
        """Check that a day has rows; the line count restarts after the last day of a file."""
        state, path = self._state, self._days[day].path
        ends_file = self._ends_file(day)
        if not self._statistics.days[day].rows:
            part = "" if ends_file and not self._days[day].start else f"day {day}, to line {state.line}, "
            hint = self._hint(path) or "An empty day usually means a failed download."
            none = f"{state.line:,} lines, but no valid rows" if state.line and not part else "no rows"
            raise DataFormatError(f"{path}: {part}has {none}. {hint}")
        if ends_file:
            state.line = state.blank_line = 0

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
        # Whether trailing blank lines of the chunk are allowed depends on what follows.
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
        if error.kind == "length":  # An error, as in ChunkReader, whatever the chunk size.
            raise DataFormatError(f"{path}:{number}: {error}. {self._hint(path)}".rstrip())
        self._rejected.add(path, number, error.kind, str(error), line)
