"""From text to records in buckets: each row is read once, numbered, and written to the bucket of its key."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import LABEL, RECORD_BYTES, RECORD_INTS
from dlrm_pl.data.formats.dataset_folder import REJECTED
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.chunks import Chunk, ChunkReader
from dlrm_pl.data.preprocessing.days import Day
from dlrm_pl.data.preprocessing.engine.native import KEYED_DTYPE, TEXT_PADDING, Columns
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, row_keys
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.threads import Pipeline, run_threads
from dlrm_pl.data.preprocessing.vocabulary_stage import VocabularyStage
from dlrm_pl.data.raw_logs.diagnosis import likely_format
from dlrm_pl.data.raw_logs.line import explain, without_newline
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import sync_handle, write_all, write_at

LAST_DAY = "last_day"
IN_ORDER = "in_order"
# The share of bad rows is checked after this many lines, and at the end.
_LINES_TO_JUDGE = 100_000
_SKIP = "Repair the log, or leave such lines out: --bad_rows skip:0.001 allows one line in a thousand."
_SHORTEST_ROW = RECORD_INTS + 1  # A label, 39 tabs, and a newline at least.
# Stages of the pipeline; those of the vocabulary's tables follow.
_COUNT_READ, _COUNT_KEPT = range(2)
_SUBSAMPLE_SEED = 0x5EED  # Arbitrary; the order uses the seed itself, and is independent.


def bucket_name(bucket: int) -> str:
    """Return the file name of a bucket."""
    return f"bucket_{bucket}"


class Scatter:
    """The first stage of a run: read the logs, or the rest of them after an interruption, into buckets.

    Args:
        days: logs of each day, in order.
        options: options of the run.
        state: where to start; updated.
        statistics: counts by day; updated.
        vocabulary: numbers of the categories; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the rows and the bytes of text that were processed.
    """

    def __init__(
        self,
        days: Sequence[Day],
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: VocabularyStage,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
    ) -> None:
        self._days = days
        self._options = options
        self._state = state
        self._statistics = statistics
        self._vocabulary = vocabulary
        self._engine = engine
        self._folder = folder
        self._progress = progress
        self._reader = ChunkReader(days, options.chunk_bytes, state.day, state.offset)
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._pipeline = Pipeline(num_stages=2)
        # Only as many threads run as there are workers. While a chunk waits for the one before it, whose thread the
        # system has suspended for another program, the next chunk runs; else the slowest thread would set the pace.
        self._running = threading.Semaphore(options.workers)
        self._files: dict[str, IO[bytes]] = {}
        self._bucket_files = np.empty(sum(state.buckets), np.int32)  # Descriptors.
        self._left_bytes = 0
        # First bucket of each day.
        self._first_bucket = np.concatenate([[0], np.cumsum(state.buckets)]).tolist()
        if options.randomize == "total":
            self._first_bucket = [0] * (len(days) + 1)

    def run(self, save_checkpoint: Callable[[], None]) -> None:
        """Read all days.

        Args:
            save_checkpoint: called when all rows read so far are in the files, and these are on the disk.

        Raises:
            DataFormatError: a row, or more rows than allowed, cannot be parsed, or a file is missing or corrupt.
        """
        with ExitStack() as stack:
            try:
                while self._reader.day < len(self._days):
                    self._left_bytes = self._options.checkpoint_bytes
                    for name in self._names():
                        if name not in self._files:
                            self._files[name] = stack.enter_context(self._open(name))
                    if self._options.randomize != "none":
                        self._bucket_files[:] = [
                            self._files[bucket_name(bucket)].fileno() for bucket in range(len(self._bucket_files))
                        ]
                    run_threads(
                        [self._process_chunks] * self._options.reading_threads,
                        self._options.reading_threads,
                        self._stop,
                    )
                    self._state.day, self._state.offset = self._reader.day, self._reader.offset
                    if self._reader.day < len(self._days):
                        for file in self._files.values():
                            sync_handle(file)
                        self._note_sizes()
                        save_checkpoint()
            finally:
                self._reader.close()
            self._check_rejected(self._days[-1].path, at_end=True)
            self._note_sizes()

    def _names(self) -> list[str]:
        if self._options.randomize == "none":
            return [IN_ORDER, LAST_DAY, REJECTED]
        return [*(bucket_name(bucket) for bucket in range(sum(self._state.buckets))), LAST_DAY, REJECTED]

    def _open(self, name: str) -> IO[bytes]:
        """Open a file unbuffered, so that all bytes are in it when a write returns."""
        path = self._folder / name
        if name in (IN_ORDER, LAST_DAY):  # Written at offsets, which a file opened to append would ignore.
            path.touch()
            return path.open("r+b", buffering=0)
        return path.open("ab", buffering=0)

    def _note_sizes(self) -> None:
        self._state.file_bytes = {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def _stop(self) -> None:
        self._pipeline.stop()
        self._vocabulary.pipeline.stop()

    def _process_chunks(self) -> None:
        """Process chunk after chunk in a thread, until a checkpoint is due or the logs end."""
        buffer = np.zeros(self._options.chunk_bytes + 1 + TEXT_PADDING, np.uint8)
        # An odd number of cache lines apart, so that the columns do not compete for the same part of the cache.
        capacity = 16 * ((self._options.chunk_bytes // _SHORTEST_ROW // 16 + 1) | 1)
        columns = np.empty((RECORD_INTS, capacity), np.int32)
        keyed = np.empty(capacity, KEYED_DTYPE)
        bad = np.empty((2, capacity), np.int64)
        # Counts that do not depend on the order of the chunks are made by each thread on its own.
        day, counted = 0, Counted()
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
                day, counted = chunk.day, Counted()
            self._process_chunk(chunk, buffer, columns, keyed, bad, counted)

    def _process_chunk(
        self,
        chunk: Chunk,
        buffer: npt.NDArray[np.uint8],
        columns: Columns,
        keyed: npt.NDArray[np.void],
        bad: npt.NDArray[np.int64],
        counted: Counted,
    ) -> None:
        """Process one chunk from text to files."""
        state, options, day = self._state, self._options, self._statistics.days[chunk.day]
        with self._running:
            size = self._reader.load(chunk, buffer)
            rows, lines, bads = self._engine.parse(
                *(buffer, size, options.modulus, columns, counted.missing, counted.histogram, counted.largest, bad)
            )
        path = self._days[chunk.day].path
        with self._pipeline.turn(_COUNT_READ, chunk.index):
            text = buffer[:size].tobytes() if bads else b""
            self._reject(chunk, text, bad[:, :bads], lines)
            if bads == bad.shape[1]:
                raise DataFormatError(
                    f"{path}: {bads:,} lines in a row cannot be parsed. {likely_format(path)}".rstrip()
                )
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
                    hint = likely_format(path) or "An empty day is usually a broken download."
                    none = f"{state.line:,} lines, but no rows" if state.line and not part else "no rows"
                    raise DataFormatError(f"{path}: {part}has {none}. {hint}")
                if ends_file:
                    state.line = state.blank_line = 0
            # While it is this chunk's turn, so that no chunk that waits for another one takes its place.
            self._running.acquire()
        try:
            self._number(chunk, columns, rows, first_row, keyed, counted)
        finally:
            self._running.release()
        with self._counting:
            self._progress(lines, chunk.size)

    def _number(
        self,
        chunk: Chunk,
        columns: Columns,
        rows: int,
        first_row: int,
        keyed: npt.NDArray[np.void],
        counted: Counted,
    ) -> None:
        """Process one chunk from rows to files."""
        state, options, day = self._state, self._options, self._statistics.days[chunk.day]
        if options.subsample_rate:
            rows = self._subsample(columns, rows, first_row)
        counted.clicks += int(np.count_nonzero(columns[LABEL, :rows]))
        with self._pipeline.turn(_COUNT_KEPT, chunk.index):
            first_kept, first_of_day = state.kept_rows, day.kept
            state.kept_rows += rows
            day.kept += rows
        last_day = chunk.day == len(self._days) - 1
        unknown = self._vocabulary.encode(chunk.index, columns, rows, last_day=last_day)
        if last_day:
            self._in_order(LAST_DAY, columns, rows, first_of_day, keyed)
        elif options.randomize == "none":
            self._in_order(IN_ORDER, columns, rows, first_kept, keyed)
        else:
            self._to_buckets(chunk.day, columns, rows, first_kept, keyed)
        with self._counting:
            state.unknown_values += unknown

    def _ends_file(self, day: int) -> bool:
        """Return whether no later day is part of the same file; lines are counted by file, as editors do."""
        return day + 1 == len(self._days) or self._days[day + 1].path != self._days[day].path

    def _subsample(self, columns: Columns, rows: int, first_row: int) -> int:
        """Drop a share of the non-clicks, each by its own number alone; returns the number of rows kept."""
        draw = row_keys(self._options.seed ^ _SUBSAMPLE_SEED, first_row, rows) >> np.uint64(11)
        dropped = draw < np.uint64(int(self._options.subsample_rate * (1 << 53)))
        keep = np.flatnonzero((columns[LABEL, :rows] != 0) | ~dropped)
        columns[:, : len(keep)] = columns[:, keep]
        return len(keep)

    def _in_order(self, name: str, columns: Columns, rows: int, first: int, keyed: npt.NDArray[np.void]) -> None:
        """Write records to their place in a file, which follows from the number of records before them."""
        records = keyed.view(np.int32)[: rows * RECORD_INTS].reshape(rows, RECORD_INTS)
        self._engine.records(columns, rows, records)
        write_at(self._files[name].fileno(), records.reshape(-1).view(np.uint8).data, first * RECORD_BYTES)

    def _to_buckets(self, day: int, columns: Columns, rows: int, first_kept: int, keyed: npt.NDArray[np.void]) -> None:
        """Append the records to their buckets, in any order, since each bucket is sorted later."""
        total = self._options.randomize == "total"
        buckets = self._state.buckets[0 if total else day]
        sizes = self._engine.scatter(columns, rows, self._options.seed, first_kept, buckets, keyed)
        first = self._first_bucket[day]
        self._engine.append(self._bucket_files[first : first + buckets], keyed, sizes)

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
        self._check_rejected(path)

    def _reject_line(self, path: Path, number: int, line: bytes) -> None:
        error = explain(line)
        if error.kind == "length":  # As in ChunkReader, so that it does not depend on the size of the chunks.
            raise DataFormatError(f"{path}:{number}: {error}. {likely_format(path)}".rstrip())
        if self._options.bad_rows is None:
            hint = likely_format(path) or _SKIP
            raise DataFormatError(f"{path}:{number}: {error}. {hint}")
        self._state.rejected[error.kind] = self._state.rejected.get(error.kind, 0) + 1
        head = f"{path}\t{number}\t{error.kind}\t".encode()
        write_all(self._files[REJECTED].fileno(), head + line + b"\n")

    def _check_rejected(self, path: Path, *, at_end: bool = False) -> None:
        """Check that no more lines were left out than the user allows."""
        rejected = sum(self._state.rejected.values())
        lines = self._state.read_rows + rejected
        if rejected and (at_end or lines >= _LINES_TO_JUDGE):
            allowed = self._options.bad_rows or 0.0
            if rejected > allowed * lines:
                kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._state.rejected.items())
                raise DataFormatError(
                    f"{path}: {rejected:,} of {lines:,} lines so far cannot be parsed ({kinds}), more than the "
                    f"{allowed:.3%} that bad_rows allows. The first are {self._first_rejected()}. "
                    f"{likely_format(path)}".rstrip()
                )

    def _first_rejected(self) -> str:
        with (self._folder / REJECTED).open(encoding="utf-8", errors="replace") as handle:
            lines = [line.split("\t")[:3] for line in itertools.islice(handle, 3)]
        return ", ".join(f"{path}:{number} ({kind})" for path, number, kind in lines)
